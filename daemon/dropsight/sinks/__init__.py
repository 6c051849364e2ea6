"""Where a record goes once it is durable: the rolling JSON log, the MQTT broker, webhooks."""
