"""Archives of millions, resumable: a manifest, shards of it, engines that work on them, formats."""
