"""The report's section about training: all stages on one axis of steps, and a table of the runs."""

import math

import trust.report_figures as figures
from trust.report_figures import Curve
from trust.report_page import folded, paragraph, table

STAGES = ("Pretraining", "Finetuning after pretraining", "Finetuning without pretraining")


def curves_of(runs) -> list[Curve]:
    """The curves of all runs with a log. Finetuning goes on where the pretraining that it started from ended."""
    steps = {run.sha256: run.record.get("steps", 0) for run in runs if run.stage == STAGES[0] and run.log}
    found = []
    for run in sorted((run for run in runs if run.log), key=lambda run: STAGES.index(run.stage)):
        offset = steps.get(run.record.get("start_sha256"), 0)
        label = run.record.get("variant", run.label)
        if len({other.record.get("recipe") for other in runs if other.log}) > 1:
            label += f", {run.record.get('recipe')}"
        found.append(Curve(label, run.stage, offset, run.log, run.held_out, run.stage != STAGES[1]))
    return found


def start_of(runs) -> float | None:
    """ln V, the loss of a model that knows nothing; None if the runs have different vocabularies."""
    sizes = {len(run.record["vocabulary"]) for run in runs if isinstance(run.record.get("vocabulary"), str)}
    return math.log(sizes.pop()) if len(sizes) == 1 else None


def training(page, runs) -> None:
    curves, ln_v = curves_of(runs), start_of(runs)
    if not curves:
        why = "There are no curves: no set of parameters has the log of its run (P.log.jsonl) beside it."
        page.section("training", "Training", "How they learned", paragraph(why, "note") + details(runs))
        return
    caption = (
        "Mean loss since the previous point. Pretraining asks for hidden pieces of text, finetuning for answers, so "
    )
    caption += "the losses of the two cannot be compared."
    if any(curve.held_out for curve in curves):
        caption += " Dotted: the loss on questions that are not trained on."
    text = paragraph(
        "The loss says how surprised the model is by the next character, in nats. A model that knows nothing takes "
        "all V characters for equally likely and starts at ln V. A low loss is not knowledge: it is measured on what "
        "the model was trained on."
    )
    if not any("validation_accuracy" in line for curve in curves for line in curve.held_out):
        note = "How many held-out questions were answered correctly during training was not logged."
        text += paragraph(note, "note")
    picture = page.picture("training", caption, 3.9, figures.losses, curves, ln_v)
    page.section("training", "Training", finding(curves, ln_v), text, picture, details(runs))


def finding(curves: list[Curve], ln_v: float | None) -> str:
    """The finding about the longest curve."""
    curve = max(curves, key=lambda curve: curve.log[-1]["step"])
    last, began = curve.log[-1], f"from {ln_v:.1f} " if ln_v else ""
    told = f"{curve.stage} took the loss {began}to {last['loss']:.2f} nats in {last['step']:,} steps"
    held_out = [line["validation_loss"] for line in curve.held_out if "validation_loss" in line]
    if held_out and min(held_out) < 0.8 * held_out[-1]:
        told += f"; on held-out questions it fell to {min(held_out):.2f} and rose again to {held_out[-1]:.2f}"
    elif held_out:
        told += f", and to {held_out[-1]:.2f} on held-out questions"
    return told


def details(runs) -> str:
    rows = []
    for run in sorted((run for run in runs if run.record), key=lambda run: STAGES.index(run.stage)):
        record, loss = run.record, run.record.get("final_loss")
        about = [run.stage, run.label, record.get("recipe", "–"), record.get("seed", "–"), record.get("steps", "–")]
        about.append("–" if loss is None else f"{loss:.3f}")
        about.append(f"{run.log[-1]['lr']:.1e}" if run.log else "–")
        about.append(f"{record['seconds']:.0f} s" if "seconds" in record else "–")
        rows.append([*about, record.get("device", "–")])
    headers = ["stage", "run", "recipe", "seed", "steps", "last loss", "last rate", "time", "device"]
    return folded("All runs", table(headers, rows)) if rows else ""
