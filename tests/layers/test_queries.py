import numpy as np
import pytest

from kerasseg.layers.queries import (
    LogarithmOfScores,
    PrependQueries,
    QueryMasks,
    QueryScores,
    TakeQueries,
)


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def softmax(values):
    powers = np.exp(values)
    return powers / powers.sum(-1, keepdims=True)


def test_queries_come_first_and_are_taken_out_again():
    layer = PrependQueries(2)
    tokens = random(3, 4, 5)
    longer = layer(tokens).numpy()
    np.testing.assert_array_equal(longer[:, :2], np.repeat(layer.embedding.numpy()[None], 3, 0))
    np.testing.assert_array_equal(longer[:, 2:], tokens)
    np.testing.assert_array_equal(TakeQueries(2)(longer), longer[:, :2])
    with pytest.raises(ValueError, match="queries must be at least 1, got 0"):
        PrependQueries(0)


def test_a_mask_is_the_product_of_embedding_and_features():
    embeddings, features = random(2, 3, 5), random(2, 4, 6, 5)
    expected = np.einsum("bqd,bhwd->bhwq", embeddings, features)
    np.testing.assert_allclose(QueryMasks()(embeddings, features), expected, atol=1e-5)


def test_scores_add_up_what_the_queries_say_but_for_nothing():
    classes, masks = random(2, 3, 5), random(2, 4, 6, 3)
    shares = 1 / (1 + np.exp(-masks))
    expected = np.einsum("bqc,bhwq->bhwc", softmax(classes)[..., :-1], shares)
    scores = QueryScores()(classes, masks).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    logits = LogarithmOfScores()(scores).numpy()
    np.testing.assert_allclose(softmax(logits), scores / scores.sum(-1, keepdims=True), atol=1e-6)
    assert np.isfinite(LogarithmOfScores()(np.zeros((1, 2), np.float32))).all()
