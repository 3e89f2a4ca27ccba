"""Two commands for the help of each verb. They run as they stand, in this order, in an empty folder."""

EXAMPLES = {
    "train": (
        "genctl train {model} --train-size 600 --epochs 1",
        "genctl train {model} --resume latest --epochs 2",
    ),
    "sample": ("genctl sample vae --means", "genctl sample gan -n 100 --seed 1 --out gan.npz"),
    "reconstruct": ("genctl reconstruct vae", "genctl reconstruct realnvp -n 10 --out pairs.png"),
    "interpolate": (
        "genctl interpolate gan --steps 7",
        "genctl interpolate vae --between-test-images --rows 3 --path slerp",
    ),
    "manifold": (
        "genctl manifold vae --steps 15",
        "genctl manifold realnvp --steps 6 --from-images --out manifold.webp",
    ),
    "eval-bpd": ("genctl eval-bpd vae --images 500 --draws 20", "genctl eval-bpd realnvp --images 200 --json"),
    "encode": (
        "genctl encode vae --out z.npz",
        "genctl encode realnvp --split validation --class 7 --images 100 --out z7.npz",
    ),
    "export": (
        "genctl export gan --format torch --out gan-programs",
        "genctl export vae --format hub --out vae-mnist",
    ),
    "evaluate": ("genctl evaluate gan --samples 500", "genctl evaluate gan.npz --modes"),
    "compare": ("genctl compare vae gan --samples 500", "genctl compare vae realnvp --samples 300 --json"),
    "animate": ("genctl animate vae-001", "genctl animate vae --kind means --out means.gif"),
    "models": ("genctl models", "genctl models --json"),
    "explain": ("genctl explain vae", "genctl explain diffusion"),
    "runs": ("genctl runs", "genctl runs --sort best --json"),
    "prune": ("genctl prune --yes", "genctl prune vae-001 --unfinished --json"),
    "show": ("genctl show vae", "genctl show realnvp --json"),
    "verify": ("genctl verify checkpoints/vae-001", "genctl verify checkpoints/vae-001 --values"),
    "data": ("genctl data mnist", "genctl data checkpoints/vae-001/samples --image-size 32 --out sheet.png"),
    "doctor": ("genctl doctor", "genctl doctor --json"),
    "report": ("genctl report vae", "genctl report checkpoints/vae-001 --out page.html"),
    "cache": ("genctl cache", "genctl cache pictures --clear"),
}
