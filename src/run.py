"""The command line: pretrain, finetune and evaluate; ask a model, report on it, show and export parameters.

    python src/run.py pretrain vanilla wiki.txt        # --help, also after each command, says more
    torchrun --nproc_per_node=2 src/run.py pretrain ...                       # two GPUs, one model

The functions behind the commands are imported when the arguments are understood: torch takes seconds to import, and
--help or a mistyped argument should not. The flags are in safe/flags.py.
"""

import sys
from typing import Any

from safe.exits import advice_for, fail, leave, open_streams, say, unread
from safe.flags import PARSER, RefusedError
from vocabulary import message_of


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    try:
        arguments = vars(PARSER.parse_args(words))
    except RefusedError:  # it may be what a handout of the course says, or leave out what run.sh would name
        from handout.commands import parsed

        arguments = parsed(words)
    name = arguments.pop("function")
    training = name in ("pretrain", "finetune")
    try:
        perform(name, arguments)
        if not training:  # which has flushed each line, or could not
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has read enough
        unread()
        return 0 if training else 128 + 13  # SIGPIPE
    except (OSError, ValueError) as error:
        return fail(message_of(error), status=getattr(error, "status", 2))
    except KeyboardInterrupt as stopped:
        if hasattr(stopped, "signum"):  # safe.unfinished.Stopped says how to continue
            return fail(*str(stopped).splitlines(), status=128 + stopped.signum)
        return fail("stopped" + " before training began" * training, status=130)
    except RuntimeError as error:
        return fail(advice_for(error))
    return 0


def perform(name: str, arguments: dict[str, Any]) -> None:
    """Call the function behind a command, and print what it found."""
    import stages

    for given in [value for argument, value in arguments.items() if value and argument.endswith("corpus_path")]:
        if (found := stages.data.find_file(given)) != stages.Path(given):
            say(f"reading {found}", to_stderr=True)
    if name == "evaluate":
        result = stages.evaluate(**arguments)
        total, correct = result["total"], result["correct"]
        if total:
            print(f"Correct: {correct} out of {total}: {correct / total:.1%}")
        else:
            say(f"Predictions written to {arguments['outputs_path']}; no targets provided")
    elif name in ("pretrain", "finetune"):
        getattr(stages, name)(**arguments)
    elif name == "show":
        from safe.record import show

        print(show(**arguments))
    elif name == "plan":
        from trust.plan import plan

        print(plan(**arguments))
    elif name == "export":
        from export.folder import export

        print(export(**arguments))
    elif name == "ask":
        from trust.asking import ask

        ask(**arguments)
    else:
        from trust.report import report

        params, predictions = arguments.pop("reading_params_path"), arguments.pop("predictions_path")
        report(params_paths=params, predictions_paths=predictions, **arguments)


if __name__ == "__main__":
    from safe.startup import settle_threads

    open_streams()
    settle_threads()  # before torch is loaded
    leave(main())
