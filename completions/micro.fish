# Completion of micro for fish.

function __micro_complete
    set --local --export MICRO_COMPLETE fish
    set --local typed (commandline --current-token --cut-at-cursor)
    set --local word (string unescape -- $typed 2>/dev/null; or printf '%s\n' $typed)
    command micro -- (commandline --current-process --tokenize --cut-at-cursor) "$word" 2>/dev/null
end

# fish ships completions for a text editor of this name, and would load them at the first <TAB>
# beside these. They are loaded now, without running micro for them, and forgotten.
if not functions --query micro
    function micro
    end
    complete --do-complete 'micro -' >/dev/null 2>&1
    functions --erase micro
end
complete --erase --command micro
complete --command micro --no-files --keep-order --arguments '(__micro_complete)'
