"""How much to ask: query rate, harm and return against k, with a deceptive member and without."""

from statistics import mean

from consensus_imitation.experiments import SweepConfig, run_sweep


def main() -> None:
    """Run a small sweep; `consensus-imitation sweep` runs large ones, and draws them."""
    for deceptive in (False, True):
        config = SweepConfig(env="cliff", k=(1, 2, 4, 8), num_seeds=8, num_steps=400, deceptive=deceptive)
        rows, _ = run_sweep(config)
        print(f"one member of {config.num_members} deceives:" if deceptive else "every member is honest:")
        for k in config.k:
            runs = [row for row in rows if row["k"] == k]
            asked = mean(row["query_rate"] for row in runs)
            harmed = sum(row["harms"] > 0 for row in runs)
            print(f"  k={k}: asks on {asked:5.1%} of the steps, {harmed} of {len(runs)} runs harmed")


if __name__ == "__main__":
    main()
