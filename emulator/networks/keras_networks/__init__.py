"""Networks in Keras on TensorFlow, which compute the same functions as their twins in torch."""
