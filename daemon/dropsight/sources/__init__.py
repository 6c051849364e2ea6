"""Sources of images beside the watched folders: images over MQTT."""
