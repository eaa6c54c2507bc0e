/**
 * The scripts that shells load. They hand over the line as it stands and take back whole words, one a line: nothing of
 * the line and nothing that comes back is ever evaluated, so that neither a half-typed `$(...)` nor a hostile name runs.
 * (The scripts of @bomb.sh/tab evaluate both, with eval and compgen -W, and need the package bash-completion.)
 */

/** The shells. */
export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

const bash = `# bash completion of berth: source <(berth completion bash)
_berth() {
  local value text files=0
  local program="\${1/#\\~/$HOME}"
  type -P -- "$program" >/dev/null || program=berth
  COMPREPLY=()
  # What bash has cut at : and = is not put before the cursor again.
  local typed="\${COMP_LINE:0:COMP_POINT}" cut=""
  typed="\${typed##*[[:space:]]}"
  if [[ "$typed" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then cut="\${typed%"\${typed##*:}"}"; fi
  if [[ "$typed" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
    local equals="\${typed%"\${typed##*=}"}"
    if (( \${#equals} > \${#cut} )); then cut="$equals"; fi
  fi
  while IFS=$'\\t' read -r value text; do
    if [[ "$value" == ":files" ]]; then files=1; else COMPREPLY+=("\${value#"$cut"}"); fi
  done < <("$program" __complete line "\${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
  if (( \${#COMPREPLY[@]} == 1 )) && [[ "\${COMPREPLY[0]}" == *[:=] ]]; then compopt -o nospace; fi
  if (( files )); then
    compopt -o filenames 2>/dev/null
    while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "\${typed#"$cut"}")
  fi
}
complete -F _berth berth
`;

const zsh = `#compdef berth
# zsh completion of berth: source <(berth completion zsh), after compinit
_berth() {
  local line files=0
  local -a values texts
  for line in "\${(@f)$("\${(Q)words[1]}" __complete words "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
    if [[ "$line" == ":files" ]]; then files=1; continue; fi
    [[ -z "$line" ]] && continue
    values+=("\${line%%$'\\t'*}")
    texts+=("\${line%%$'\\t'*}  \${line#*$'\\t'}")
  done
  (( \${#values} )) && compadd -l -d texts -a values
  (( files )) && _files
  return 0
}
if [[ "\${funcstack[1]}" == "_berth" ]]; then _berth "$@"; else compdef _berth berth; fi
`;

const fish = `# fish completion of berth: berth completion fish | source
function __berth_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for line in ($words[1] __complete words $words[2..-1] "$typed" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$typed"
        else
            echo $line
        end
    end
end
complete -c berth -f -a '(__berth_complete)'
`;

/** The script of a shell. */
export const scripts: Readonly<Record<Shell, string>> = { bash, zsh, fish };
