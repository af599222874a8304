"""Taking changes of refs back."""
