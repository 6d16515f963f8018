"""A little text to learn tokens from."""

from __future__ import annotations

CORPUS = """\
A harbour at dawn: fishing boats come home while the town is still asleep, and gulls follow them over the quay.
How do I boil an egg? Put it into boiling water for seven minutes, then into cold water, and peel it at once.
The quick brown fox jumps over the lazy dog, and the dog, who has seen it before, does not even open its eyes.
What is the capital of France? The capital of France is Paris, on the river Seine, where two million people live.
A watercolour painting of mountains under a red sky, with a small house, a lake and a wooden bridge in front.
Write a short poem about the sea. The sea is wide, the sea is deep; it sings the sailors all to sleep.
A photograph of an orange cat on a blue sofa, soft light from the window, high detail, sharp focus, best quality.
Why is the sky blue? Because the air scatters the blue part of sunlight more strongly than the red part.
A calm piano melody with gentle strings and slow drums; then a guitar joins in, warm and bright, like a summer morning.
Explain gravity to a child. Everything pulls on everything else: the heavier it is and the nearer, the harder it pulls.
A red circle and a green square on a white background; two yellow triangles below them; a black line across all.
Hello! I am a very small language model. I can answer questions, write poems and tell stories, though not very well.
Rain on a tin roof, thunder in the distance, wind in the trees, and after a while the song of a single bird.
List three fruits and three vegetables: apples, pears and cherries; carrots, beans and potatoes. Which do you like?
There once was a computer with eight processors. Some were busy and some were idle, and they learned to share.
def add(first, second): return first + second  # for numbers, and for lists too: [1, 2] + [3, 4] == [1, 2, 3, 4]
In 1969 two people walked on the moon; in 1990 a telescope was sent into space; since 2000 people have lived there.
Electronic dance music, 120 beats per minute, with a deep bass line, hand claps, and a voice that says "one more time".
Please translate "good morning" into German, French and Spanish: guten Morgen, bonjour, buenos días. Thank you!
"""
