"""A server that speaks TensorFlow Serving's protocols, for a laptop or a test.

One asyncio loop takes requests, over HTTP (`http`) and gRPC (`rpc`); threads of `engine` answer
them with the SavedModels of `catalog`. The server loads neither Keras nor TensorFlow's Python
package.
"""
