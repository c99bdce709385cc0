"""The triggers that FlowStone brings along."""
