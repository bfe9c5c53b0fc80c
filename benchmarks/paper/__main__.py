"""All experiments, or some of them.

    python -m benchmarks.paper [4.3 5.1 5.2 6.1 6.2] [--num-data-sets 5] [--quick]

Rows go to benchmarks/results/paper.json (with --quick to out/paper.json) as soon as they are known; a run that was
stopped goes on. Data are cached in benchmarks/cache.
"""

from benchmarks.store import new_parser, results_folder

from . import locally_periodic, one_dimensional, periodic, report, stochastic
from .rows import Rows

EXPERIMENTS = {
    "4.3": one_dimensional.run,
    "5.1": periodic.run,
    "5.2": locally_periodic.run,
    "6.1": stochastic.run_independent,
    "6.2": stochastic.run_one_specimen,
}


def main() -> None:
    parser = new_parser(__doc__, "tiny sizes: does it run at all?")
    parser.add_argument("experiments", nargs="*", default=list(EXPERIMENTS), help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--num-data-sets", type=int, default=5, help="how many data sets each")
    options = parser.parse_args()
    unknown = set(options.experiments) - set(EXPERIMENTS)
    if unknown or options.num_data_sets < 1:
        parser.error(f"unknown experiments {sorted(unknown)}" if unknown else "--num-data-sets must be at least 1")
    folder = results_folder(options.quick)
    rows = Rows(folder / "paper.json")
    for name in options.experiments:
        EXPERIMENTS[name](rows, options.num_data_sets, options.quick)
    print("\n" + report.table(rows.content))
    (folder / "paper.md").write_text(report.table(rows.content) + "\n")
    report.draw(rows.content, folder)


if __name__ == "__main__":
    main()
