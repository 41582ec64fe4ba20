#!/usr/bin/env bash
# Runs the project, from setting up Python to the table of results and a page that explains them, report.html.
# Prints every command before it runs it.
#
#   ./run.sh                      full on a machine with CUDA, quick otherwise
#   ./run.sh quick [VARIANT ...]  a small corpus and model, minutes on a CPU; writes into quick/
#   ./run.sh full [VARIANT ...]   the course's commands with and without pretraining, dev and test (default: vanilla)
#   ./run.sh STAGE ...            single stages, for any VARIANT:
#       VARIANT_finetune_without_pretrain  VARIANT_eval_dev_without_pretrain  VARIANT_eval_test_without_pretrain
#       VARIANT_pretrain  VARIANT_finetune_with_pretrain  VARIANT_eval_dev_with_pretrain  VARIANT_eval_test_with_pretrain
#   ./run.sh test [ARGUMENT ...]  the tests; the arguments are handed to pytest
#   ./run.sh notebooks            opens the notebooks of mingpt-demo/ in a browser
#
# Options such as --recipe NAME, --seed N or --max_epochs N are handed to training, --plain to training and evaluation,
# --device NAME to every command. With --resume a stopped stage goes on, and a complete one is not done again.
# Training also logs the loss on birth_dev.tsv if that file has the answers. The variable DATA_DIR names another folder
# with the four data files, OUT_DIR another folder for the results.
set -euo pipefail

here=$(pwd)
cd "$(dirname "$0")"
absolute() { case "$1" in /* | ?:*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
[ -z "${DATA_DIR:-}" ] || DATA_DIR=$(absolute "$DATA_DIR")
[ -z "${OUT_DIR:-}" ] || OUT_DIR=$(absolute "$OUT_DIR")

fail() { echo "run.sh: $*" >&2; exit 2; }

run() { echo "+ $*" >&2; "$@"; }

# ------------------------------------------------------------------------------------------------- environment

has_all() { # PYTHON MODULE ...: is this Python new enough, and does it have all of these modules?
  "$1" - "${@:2}" >/dev/null 2>&1 <<'PYTHON'
import sys, importlib.util
sys.exit(sys.version_info < (3, 11) or not all(importlib.util.find_spec(name) for name in sys.argv[1:]))
PYTHON
}

venv_python() { if [ -x .venv/Scripts/python.exe ]; then echo .venv/Scripts/python.exe; else echo .venv/bin/python; fi; }

set_up() { # REQUIREMENTS MODULE ...: sets PYTHON to one with the modules: the caller's, or that of .venv
  local requirements=$1 python
  shift
  for python in python3 python "$(venv_python)"; do
    if has_all "$python" "$@"; then PYTHON=$python && return; fi
  done
  for python in python3 python; do
    if has_all "$python" sys; then break; fi
    python=
  done
  [ -n "$python" ] || fail "Python 3.11 or newer is needed, as python3 or python"
  # A .venv without pip is left over from an attempt that failed because a system package was missing.
  "$(venv_python)" -m pip --version >/dev/null 2>&1 || run "$python" -m venv .venv
  PYTHON=$(venv_python)
  run "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements"
}

# ------------------------------------------------------------------------------------------------------ stages

train() { # pretrain|finetune VARIANT ARGUMENT ...
  local held_out=()
  if grep -q $'\t' "$DATA/birth_dev.tsv" 2>/dev/null; then # it has the answers
    held_out=(--eval_corpus_path "$DATA/birth_dev.tsv")
  fi
  run "$PYTHON" src/run.py "$1" "$2" "$DATA/wiki.txt" "${@:3}" \
    ${held_out[@]+"${held_out[@]}"} ${OPTIONS[@]+"${OPTIONS[@]}"}
}

evaluate() { # VARIANT PARAMS dev|test nopretrain|pretrain: keeps the last line of the output as SCORE
  local questions=birth_dev.tsv
  [ "$3" = dev ] || questions=birth_test_inputs.tsv
  SCORE=$(run "$PYTHON" src/run.py evaluate "$1" "$DATA/wiki.txt" --reading_params_path "$OUT/$1.$2.params" \
    --eval_corpus_path "$DATA/$questions" --outputs_path "$OUT/$1.$4.$3.predictions" \
    ${PLAIN[@]+"${PLAIN[@]}"} ${DEVICE[@]+"${DEVICE[@]}"} | tail -n 1)
  echo "$SCORE"
}

stage() { # NAME
  local train_rows=(--finetune_corpus_path "$DATA/birth_places_train.tsv")
  case "$1" in
    ?*_finetune_without_pretrain)
      local variant=${1%_finetune_without_pretrain}
      train finetune "$variant" --writing_params_path "$OUT/$variant.model.params" "${train_rows[@]}" ;;
    ?*_eval_dev_without_pretrain) evaluate "${1%_eval_dev_without_pretrain}" model dev nopretrain ;;
    ?*_eval_test_without_pretrain) evaluate "${1%_eval_test_without_pretrain}" model test nopretrain ;;
    ?*_finetune_with_pretrain)
      local variant=${1%_finetune_with_pretrain}
      train finetune "$variant" --reading_params_path "$OUT/$variant.pretrain.params" \
        --writing_params_path "$OUT/$variant.finetune.params" "${train_rows[@]}" ;;
    ?*_eval_dev_with_pretrain) evaluate "${1%_eval_dev_with_pretrain}" finetune dev pretrain ;;
    ?*_eval_test_with_pretrain) evaluate "${1%_eval_test_with_pretrain}" finetune test pretrain ;;
    ?*_pretrain)
      local variant=${1%_pretrain}
      [ "$MIX" = yes ] || train_rows=()
      train pretrain "$variant" --writing_params_path "$OUT/$variant.pretrain.params" \
        ${train_rows[@]+"${train_rows[@]}"} ${THIRD_MASK[@]+"${THIRD_MASK[@]}"} ;;
  esac
}

all_stages() { # VARIANT ...: every stage of each, then the table. What would stop it later is checked first.
  local variant suffix began table score file
  for file in wiki.txt birth_places_train.tsv birth_dev.tsv birth_test_inputs.tsv; do
    [ -f "$DATA/$file" ] || fail "$DATA/$file: no such file"
  done
  "$PYTHON" - "$@" <<'PYTHON' || exit 2
import sys
sys.path.insert(0, "src")
from safe.flags import registered
variants = registered()
for name in sys.argv[1:]:
    if name not in variants:
        sys.exit(f"run.sh: no variant {name}: choose from {', '.join(variants)}")
PYTHON
  score=$(run "$PYTHON" london_baseline.py --eval_corpus_path "$DATA/birth_dev.tsv")
  table=$(printf '%-40s %s' "London for everyone" "$score")
  for variant in "$@"; do
    for suffix in without_pretrain with_pretrain; do
      began=$SECONDS
      [ $suffix = without_pretrain ] || stage "${variant}_pretrain"
      stage "${variant}_finetune_$suffix"
      stage "${variant}_eval_dev_$suffix"
      score=$SCORE
      table+=$(printf '\n%-40s %-36s %5d s' "$variant, ${suffix%_pretrain} pretraining" "$score" $((SECONDS - began)))
      stage "${variant}_eval_test_$suffix"
    done
  done
  write_report "$@"
  printf '\nDev questions of %s:\n%s\nWhat is behind these numbers: %s\n' "$DATA" "$table" "$OUT/report.html"
}

write_report() { # VARIANT ...: about everything that all_stages makes
  local variant params=() predictions=() unseen=$DATA/birth_unseen_inputs.tsv
  for variant in "$@"; do
    params+=("$OUT/$variant".{model,pretrain,finetune}.params)
    predictions+=("$OUT/$variant".{nopretrain,pretrain}.dev.predictions)
  done
  [ -f "$unseen" ] || unseen=data/birth_unseen_inputs.tsv # made-up people are in nobody's corpus
  run "$PYTHON" src/run.py report "$DATA/wiki.txt" --reading_params_path "${params[@]}" \
    --predictions_path "${predictions[@]}" --eval_corpus_path "$DATA/birth_dev.tsv" \
    --finetune_corpus_path "$DATA/birth_places_train.tsv" --unseen_corpus_path "$unseen" \
    --outputs_path "$OUT/report.html" ${DEVICE[@]+"${DEVICE[@]}"}
}

# --------------------------------------------------------------------------------------------------- arguments

WORDS=() OPTIONS=() PLAIN=() THIRD_MASK=() DEVICE=() RECIPE=
while [ $# -gt 0 ]; do
  case "$1" in
    test | notebooks) # the rest is for pytest or Jupyter
      if [ ${#WORDS[@]} -eq 0 ]; then WORDS=("$1") && shift && break; fi
      WORDS+=("$1") ;;
    -h | --help) sed -n '2,/^set /p' run.sh | sed '/^set /d; s/^# \{0,1\}//' && exit ;;
    --third_mask) THIRD_MASK=("$1") ;;
    --plain) PLAIN=("$1") OPTIONS+=("$1") ;;
    --resume | --overwrite | --deterministic | --shard) OPTIONS+=("$1") ;;
    --recipe=*) RECIPE=${1#--recipe=} OPTIONS+=("$1") ;;
    --device=*) DEVICE=("$1") OPTIONS+=("$1") ;;
    --*=*) OPTIONS+=("$1") ;;
    --*)
      [ $# -ge 2 ] || fail "$1 needs a value"
      OPTIONS+=("$1" "$2")
      case "$1" in --recipe) RECIPE=$2 ;; --device) DEVICE=("$1" "$2") ;; esac
      shift ;;
    *) WORDS+=("$1") ;;
  esac
  shift
done

case "${WORDS[0]:-}" in
  test | notebooks | quick | full | '') ;;
  *)
    for name in "${WORDS[@]}"; do
      case "$name" in
        ?*_finetune_with*_pretrain | ?*_eval_dev_with*_pretrain | ?*_eval_test_with*_pretrain | ?*_pretrain) ;;
        *) fail "no stage $name: ./run.sh --help lists the stages" ;;
      esac
    done ;;
esac

case "${WORDS[0]:-}" in
  test | notebooks)
    [ ${#OPTIONS[@]}${#THIRD_MASK[@]} = 00 ] || fail "options before ${WORDS[0]} are not for it: put them after it" ;;
esac
case "${WORDS[0]:-}" in
  test)
    set_up requirements-dev.txt torch numpy tqdm pytest pytest_timeout xdist hypothesis nbclient ipykernel matplotlib
    run "$PYTHON" -m pytest "$@"
    exit ;;
  notebooks)
    set_up requirements-notebooks.txt torch numpy tqdm matplotlib notebook
    echo "The notebooks open in a browser; if they do not, open the address that is printed below."
    echo "Begin with play_char.ipynb. Choose Run > Run All Cells there. To stop, press Ctrl-C here twice."
    run "$PYTHON" -m notebook mingpt-demo "$@"
    exit ;;
esac

set_up requirements.txt torch numpy tqdm matplotlib
if [ ${#WORDS[@]} -eq 0 ]; then
  if "$PYTHON" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "this machine has CUDA: ./run.sh full" && WORDS=(full)
  else
    echo "no CUDA here: ./run.sh quick (./run.sh full trains the full model)" && WORDS=(quick)
  fi
fi
if [ "${WORDS[0]}" = quick ]; then
  DATA=${DATA_DIR:-data/quick} OUT=${OUT_DIR:-quick} RECIPE=${RECIPE:-quick}
  OPTIONS=(--recipe quick ${OPTIONS[@]+"${OPTIONS[@]}"}) # a --recipe among the options comes later and wins
else
  DATA=${DATA_DIR:-data} OUT=${OUT_DIR:-.} RECIPE=${RECIPE:-course}
fi
MIX=no # does the recipe mix questions into pretraining?
if "$PYTHON" - "$RECIPE" <<'PYTHON'
import sys
sys.path.insert(0, "src")
from recipes import RECIPES
sys.exit(sys.argv[1] not in RECIPES or not RECIPES[sys.argv[1]].question_share)
PYTHON
then MIX=yes; fi
mkdir -p "$OUT"

case "${WORDS[0]}" in
  quick | full)
    [ ${#WORDS[@]} -gt 1 ] || WORDS+=(vanilla)
    all_stages "${WORDS[@]:1}" ;;
  *) for name in "${WORDS[@]}"; do stage "$name"; done ;;
esac
