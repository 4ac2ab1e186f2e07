"""What routes call: image jobs, captions, prompts, speakers, files."""
