"""Reading of ``torch.save`` files without PyTorch, and without executing anything in them; tensors become arrays."""
