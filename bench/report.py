"""The figures as plain text that reads well in a terminal. Pure."""

from collections.abc import Callable, Mapping, Sequence

from bench.figures import (
    KEYTURN,
    RUNBOOK,
    WARM,
    Import,
    Invocation,
    Layer,
    Rotation,
    Ways,
    median,
    over,
    ratio,
)

MEGABYTE = 1024 * 1024  # as Lambda's limits count
LAYER_BUDGET_MB = 120
LAYER_LIMIT_MB = 250  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LARGEST = 10
# The packages that a function may load by itself; the others are theirs.
VENDORS = ("aws_lambda_powertools", "boto3", "cryptography", "hvac", "kubernetes", "redis")

# What each way of rotating does; the figures above have to be read with it.
DEEDS = (
    ("old value kept for a way back (AWSPREVIOUS)", "yes", "yes"),
    ("consumers, Redis and services checked before anything changes", "no", "yes"),
    ("new key tested before it is current", "no", "yes"),
    ("people told before and after", "no", "yes"),
    ("delivered key read back", "no", "yes"),
    ("sessions deleted only when no pod holds the old key", "no", "yes"),
    ("sessions counted, and looked for once more", "no", "yes"),
    ("health URLs and login asked", "yes", "yes"),
    ("logs of the new pods searched for key errors", "no", "yes"),
    ("record kept", "no", "yes"),
)
STAGES: tuple[tuple[str, Callable[[Rotation], float]], ...] = (
    ("total", lambda one: one.total),
    ("  until the first restart", lambda one: one.before),
    ("  the rollouts it waits for", lambda one: one.rollout),
    ("  from there to the end", lambda one: one.after),
    ("net: total less rollouts", lambda one: one.net),
    ("last old pod gone after", lambda one: one.last_pod_gone),
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(("", first, *others)).rstrip()

    rule = "  " + "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [line(head), rule, *(line(row) for row in rows)]


def times(value: float, baseline: float) -> str:
    """A ratio as text: '2.1 x', or '-' where the baseline is not above zero."""
    found = ratio(value, baseline)
    return "-" if found is None else f"{found:.2f} x"


def rotation(ways: Ways, sessions: int, redis_client: str) -> list[str]:
    """The table of rotations, and what each way does."""
    rows = [(name, *_compared(ways, stage)) for name, stage in STAGES]
    left = {way: median(one.old_pods_left for one in found) for way, found in ways.items()}
    counts = (f"{left[RUNBOOK]:.0f}", f"{left[KEYTURN]:.0f}", "", f"{left[WARM]:.0f}", "")
    rows.append(("old pods left at its end", *counts))
    rounds = len(ways[RUNBOOK])
    return [
        f"Rotation: {sessions:,} sessions, {rounds} rounds; medians, ratios are to the runbook",
        "",
        *table(("", RUNBOOK, KEYTURN, "ratio", WARM, "ratio"), rows),
        "",
        "  Keyturn: from RotateSecret to the end of the execution. Every function starts cold, as",
        "  in a scheduled rotation; then once more with all of them warm.",
        "  Runbook: its commands as a script, curl for aws and kubectl; nobody reads or types.",
        f"  It deletes sessions with {redis_client}.",
        "  It waits, as kubectl rollout status does, until the new pods are available; Keyturn,",
        "  looking once a second, until the last old pod is gone. Both moments are the cluster's.",
        "",
        *table(("what is done", RUNBOOK, KEYTURN), DEEDS),
    ]


def _compared(ways: Ways, stage: Callable[[Rotation], float]) -> tuple[str, ...]:
    """One row: the runbook's median, then Keyturn's with their ratios to it."""
    base, cold, warm = (median(map(stage, ways[way])) for way in (RUNBOOK, KEYTURN, WARM))
    return (
        f"{base:.2f} s",
        *(f"{cold:.2f} s", times(cold, base)),
        *(f"{warm:.2f} s", times(warm, base)),
    )


def imports(costs: Mapping[str, Import], bare: str, baseline: str) -> list[str]:
    """The table of imports: each over the bare interpreter, against boto3 with a client."""
    base = over(costs[baseline], costs[bare])

    def row(subject: str) -> tuple[str, ...]:
        beyond = over(costs[subject], costs[bare])
        return (
            f"{subject} and a client" if subject == baseline else subject,
            *(f"{beyond.cpu_ms:.0f} ms", times(beyond.cpu_ms, base.cpu_ms)),
            *(f"{beyond.source_cpu_ms:.0f} ms", times(beyond.source_cpu_ms, base.source_cpu_ms)),
            *(f"{beyond.rss_mb:.1f} MB", times(beyond.rss_mb, base.rss_mb)),
        )

    start = costs[bare]
    head = ("", "CPU", "ratio", "CPU from source", "ratio", "peak memory", "ratio")
    return [
        "Import: beyond the bare interpreter; medians, ratios are to boto3 with a client",
        "",
        *table(head, [row(subject) for subject in costs if subject != bare]),
        "",
        f"  The bare interpreter: {start.cpu_ms:.0f} ms of CPU, {start.rss_mb:.1f} MB.",
        "  From source: the layer is deployed without bytecode, so a cold start compiles it.",
    ]


def vendors(costs: Mapping[str, Import], bare: str, baseline: str) -> list[str]:
    """Which vendors each function loads, and how many packages come with them."""
    rows = []
    for subject, cost in costs.items():
        if subject not in {bare, baseline}:
            named = [vendor for vendor in VENDORS if vendor in cost.vendors]
            rows.append(f"  {subject:<19}{', '.join(named)}; {len(cost.vendors) - len(named)} more")
    return ["Vendors: what each function loads; the rest are packages of theirs", "", *rows]


def first_invokes(cold: Mapping[str, Sequence[Invocation]]) -> list[str]:
    """The table of cold starts, from Lambda's REPORT lines."""
    rows = [
        (
            module,
            str(len(found)),
            f"{median(one.init_ms or 0.0 for one in found):.0f} ms",
            f"{median(one.duration_ms for one in found):.0f} ms",
            f"{median(one.memory_mb for one in found):.0f} MB",
            f"{found[0].memory_size_mb} MB",
        )
        for module, found in cold.items()
    ]
    head = ("", "cold starts", "Init Duration", "Duration", "Max Memory Used", "of")
    return [
        "First invocation: the local Lambda's REPORT in the rotations above; medians",
        "",
        *table(head, rows),
    ]


def layer(found: Layer) -> list[str]:
    """The size of the layer against its budget and Lambda's limit."""
    if found.problem:
        return [f"Layer: not measured. {found.problem}"]
    total = found.total / MEGABYTE
    verdict = "within" if total <= LAYER_BUDGET_MB else "ABOVE"
    names = {name.lower() for name, _ in found.sizes}
    boto3 = "is in it, but Lambda has it" if "boto3" in names else "is rightly not in it"
    rows = [(name, f"{size / MEGABYTE:.1f} MB") for name, size in found.sizes[:LARGEST]]
    rest = sum(size for _, size in found.sizes[LARGEST:])
    others = len(found.sizes) - LARGEST
    if others > 0:
        rows.append((f"{others} others", f"{rest / MEGABYTE:.1f} MB"))
    measure = f"{verdict} the budget of {LAYER_BUDGET_MB} MB (Lambda's limit: {LAYER_LIMIT_MB} MB)"
    return [
        f"Layer: {total:.1f} MB unzipped, {measure}",
        "",
        *table(("for python3.13 on arm64", "size"), rows),
        "",
        f"  boto3 {boto3}: the runtime brings its own.",
    ]
