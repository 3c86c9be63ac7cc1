# Completion of micro for bash 3.2 and newer.

_micro() {
    # Bash splits words at COMP_WORDBREAKS, `=` and `:` among them. What no blank separates is one
    # word, and the last one ends at the cursor.
    local line=${COMP_LINE:0:COMP_POINT} index rest word candidate
    local -a words=()
    for ((index = 0; index <= COMP_CWORD; index++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        word=${COMP_WORDS[index]}
        if ((index == COMP_CWORD)); then
            word=$rest
        fi
        if ((index > 0)) && [[ $rest == "$line" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${rest#"$word"}
    done

    # Readline replaces only what stands behind the last break.
    word=${words[${#words[@]} - 1]}
    local kept=${word%"$2"}
    if [[ $2 == [=:] ]]; then
        kept=$word
    fi
    COMPREPLY=()
    # `value`, or `value<TAB>help`.
    while IFS= read -r candidate; do
        candidate=${candidate%%$'\t'*}
        COMPREPLY+=("${candidate#"$kept"}")
    done < <(MICRO_COMPLETE=bash command micro -- "${words[@]}" 2>/dev/null)

    # What goes on after it is followed by no blank.
    if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

if ((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4)); then
    complete -o nosort -F _micro micro
else
    complete -F _micro micro
fi
