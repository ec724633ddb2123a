"""Record types in branch order (temporary)."""
BRANCHES = {n: i for i, n in enumerate("SFHeader Container Process File ProcessEvent NetworkFlow FileFlow FileEvent NetworkEvent ProcessFlow Pod K8sEvent".split())}
