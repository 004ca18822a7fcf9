"""The tunnel through ngrok and its agent process."""
