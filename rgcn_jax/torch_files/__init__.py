"""Files of ``torch.save`` without PyTorch: tensors as arrays, and nothing of what the file contains is run."""
