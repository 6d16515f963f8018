"""Language models: any transformers decoder whose attention goes through `AttentionInterface`, over a paged KV arena.

A prompt's way: `tokenization` makes token ids of it, `scheduling` decides when it runs, `batch` packs the step,
`runner` runs the model whose attention is `paged_attention`, `sampler` chooses tokens, `detokenizer` and `stopping`
turn them into text, `engine` holds it all together. `load` makes an engine of a folder, or refuses it with the reason.
"""
