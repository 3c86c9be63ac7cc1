#compdef micro
# Completion of micro for zsh: as `_micro` in a folder of $fpath, or sourced after compinit.

_micro() {
    local line value
    local -a lines folders others
    lines=("${(@f)$(MICRO_COMPLETE=zsh command micro -- \
        "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    # `value`, or `value<TAB>help`.
    for line in $lines; do
        value=${line%%$'\t'*}
        if [[ $value == */ ]]; then
            folders+=("${value%/}")
        elif [[ $value == "$line" ]]; then
            others+=("${value//:/\\:}")
        else
            others+=("${value//:/\\:}:${line#*$'\t'}")
        fi
    done
    ((${#folders})) && compadd -q -S / -a folders
    ((${#others})) && _describe -V micro others
}

# Read from $fpath, the file itself is the function, and this is the first completion of the shell.
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _micro "$@"
elif (($+functions[compdef])); then
    compdef _micro micro
else
    print -u2 'micro: completion needs compinit, which has to run before this'
fi
