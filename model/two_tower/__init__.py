"""Image-text models with two towers (SigLIP, SigLIP 2, CLIP, MobileCLIP2 …) on onnxruntime, without torch."""
