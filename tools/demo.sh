#!/bin/sh
# The tour behind `make demo`: a daemon of its own, three models, one prompt each. Every line is a command you can type.
set -eu

# Settings of your own daemon are not the demo's.
for name in $(env | sed -n 's/^\(AQUAHOST_[A-Za-z0-9_]*\)=.*/\1/p'); do
    [ "$name" = AQUAHOST_CACHE_DIR ] || unset "$name"
done

out=${DEMO_OUTPUT:-demo-output}
mkdir -p "$out"
# A runtime folder of its own: the demo never meets a daemon that is already running here.
AQUAHOST_RUNTIME_DIR=$(mktemp -d "${TMPDIR:-/tmp}/aquahost-demo.XXXXXX")
AQUAHOST_STATE_DIR="$AQUAHOST_RUNTIME_DIR/state"
export AQUAHOST_RUNTIME_DIR AQUAHOST_STATE_DIR

finish() {
    status=$?
    trap - EXIT INT TERM
    if [ -e "$AQUAHOST_RUNTIME_DIR/daemon.json" ]; then aquahost down --now || true; fi
    if [ "$status" -ne 0 ]; then
        echo "The demo failed; the daemon's log is $AQUAHOST_STATE_DIR/logs/daemon.log" >&2
    else
        rm -rf "$AQUAHOST_RUNTIME_DIR"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

show() {
    printf '\n$' >&2
    for word in "$@"; do
        case "$word" in
            *[!A-Za-z0-9_./=-]*) printf ' "%s"' "$word" >&2 ;;
            *) printf ' %s' "$word" >&2 ;;
        esac
    done
    printf '\n' >&2
    "$@"
}

show aquahost up -d --wait --demo --port 0
show aquahost run chat "Tell me a story about a fox." --max-tokens 48
show aquahost run paint "a red circle above a blue square" -o "$out/paint.png"
show aquahost run sing "a 440 hertz tone" -o "$out/sing.wav"
show aquahost status
show aquahost down

printf '\nThe image and the sound are in %s:\n' "$out"
ls -l "$out"
