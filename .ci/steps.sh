# shellcheck shell=bash disable=SC2154
# Runs steps and counts. To be sourced; wants `room`, a directory for logs.
#
# A step counts its tests if it runs any (`test result: … N passed; N failed`), and itself as one if not. A test that
# says `LEFT OUT:` passed for the harness only: it is not counted. A step that fails counts at least one failure.

passed=0
failed=0
summary=()
running=
# The steps that run beside others: their processes, by heading.
declare -A beside=()
deadline=$((SECONDS + 44 * 60))

# Usage: step SECONDS HEADING COMMAND…: the command may take so long, and all together no longer than the deadline.
step() {
    local limit=$1 heading=$2 started=$SECONDS status=0 log
    shift 2
    log=$room/step.log
    if ((limit > deadline - SECONDS)); then limit=$((deadline - SECONDS > 1 ? deadline - SECONDS : 1)); fi

    printf '\n=== %s\n    %s\n' "$heading" "$*"
    : >"$log"
    # In the background, so that a signal reaches our traps at once and not at the end of the step.
    timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 &
    running=$!
    tail -n +1 -s 0.2 -f --pid="$running" "$log" &
    local reader=$!
    wait "$running" || status=$?
    running=
    wait "$reader" || true
    account "$heading" "$limit" "$status" "$((SECONDS - started))" "$log"
}

# Usage: begin SECONDS HEADING COMMAND…: a step that runs beside the next ones, with what they leave of the processors, until `finish HEADING`.
begin() {
    local limit=$1 heading=$2 log=$room/beside.${#beside[@]}.log
    shift 2
    printf '\n=== %s, beside the next steps\n    %s\n' "$heading" "$*"
    nice -n 19 timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 &
    beside[$heading]="$! $limit $EPOCHSECONDS $log"
}

# Waits for a step that was begun, and shows what it has said.
finish() {
    local heading=$1 process limit started log status=0
    read -r process limit started log <<<"${beside[$heading]}"
    wait "$process" || status=$?
    unset "beside[$heading]"
    printf '\n=== %s\n' "$heading"
    cat "$log"
    # Until the last that it said: it may have ended long ago.
    account "$heading" "$limit" "$status" "$(($(stat -c %Y "$log") - started))" "$log"
}

# Counts a step that has ended. Usage: account HEADING LIMIT STATUS SECONDS LOG
account() {
    local heading=$1 limit=$2 status=$3 took=$4 log=$5 harnesses good bad left_out
    # Of all harnesses that the step ran: how many there were, tests that passed, tests that failed.
    read -r harnesses good bad < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log" \
        | awk '{ good += $1; bad += $2 } END { print NR, good + 0, bad + 0 }')
    left_out=$(grep -o 'LEFT OUT:' "$log" | wc -l) || true
    good=$((good - left_out))
    if ((harnesses == 0 && status == 0)); then good=1; fi
    if ((status != 0 && bad == 0)); then bad=1; fi
    passed=$((passed + good))
    failed=$((failed + bad))

    local verdict=ok
    if ((left_out > 0)); then verdict="ok, $left_out left out"; fi
    if ((status == 124 || status == 137)); then
        verdict="FAILED: not done after $limit s"
    elif ((status != 0)); then
        verdict="FAILED: exit status $status"
    fi
    summary+=("$(printf '%5d s  %5d passed  %3d failed  %s: %s' \
        "$took" "$good" "$bad" "$heading" "$verdict")")
    printf '%s\n' "--- ${summary[-1]}"
}

# Ends the steps that run, if any, with all that they started.
stop_step() {
    local begun
    for begun in "${beside[@]}"; do
        kill "${begun%% *}" 2>/dev/null || true
        wait "${begun%% *}" 2>/dev/null || true
    done
    beside=()
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
        running=
    fi
}

# The closing lines; false if anything failed.
tally() {
    printf '\n=== All steps, %d s\n' "$SECONDS"
    printf '%s\n' "${summary[@]}"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0))
}
