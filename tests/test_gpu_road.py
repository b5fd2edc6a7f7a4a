"""No step of training, evaluation or prediction makes a GPU wait for the host.

Graphs are only read, see `gpu_placement`; no GPU is needed.
"""

import keras
import pytest
import tensorflow as tf
from gpu_placement import stops
from shallow import make_networks_shallow

import kerasseg
from kerasseg import inference, layers, losses, metrics, models
from kerasseg.models import pidnet

CLASSES = 5
IMAGES = tf.TensorSpec((None, None, None, 3))
LABELS = tf.TensorSpec((None, None, None), tf.uint8)
WEIGHTS = tf.TensorSpec((None, None, None))
LOGITS = tf.TensorSpec((None, None, None, CLASSES))
STATIC = {spec: tf.TensorSpec((2, 8, 8, *spec.shape[3:]), spec.dtype) for spec in (LABELS, LOGITS)}
SMALL = {
    "unet": {"filters": 4},
    "segnet": {"filters": 4},
    "eomt": {"encoder": "dinov2_small", "image_size": 64, "num_blocks": 2, "num_queries": 7},
    "segformer": {"encoder": "mit_b0", "filters": 8},
    "segmenter": {"encoder": "vit_tiny", "grid": (4, 4)},
    "deeplabv3plus": {"encoder": "mobilenetv2:0.25"},
    "upernet": {"encoder": "swin_tiny"},
    "lraspp": {"encoder": "mobilenetv3_small"},
    "ddrnet": {},
    "pidnet": {},
}
# All their operations are those of the others, too.
SELDOM = (
    "ddrnet",
    "deeplab",
    "deeplabv3",
    "deeplabv3plus",
    "fcn",
    "linknet",
    "manet",
    "pan",
    "refinenet",
    "segmenter",
    "unetplusplus",
)
every_architecture = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SELDOM else ()) for n in models.names()],
)
# Keras' dropout draws its seed on the GPU and reads it on the host: two numbers per layer.
KERAS_DROPOUT = {"Cast -> StatelessRandomGetKeyCounter (int32)"}
OF_CLASSES = [1.0, 2.0, 1.0, 0.5, 1.0]
LOSSES = {
    "cross-entropy": losses.CrossEntropy(OF_CLASSES),
    "smoothed": losses.CrossEntropy(OF_CLASSES, label_smoothing=0.1),
    "near borders": losses.CrossEntropy(boundary_weight=10, boundary_sigma=0.5),
    "focal": losses.Focal(),
    "hard examples": losses.OnlineHardExamples(),
    "dice": losses.Dice(),
    "jaccard": losses.Jaccard(),
    "tversky": losses.Tversky(),
    "lovasz": losses.LovaszSoftmax(),
    "sum": losses.WeightedSum([losses.CrossEntropy(), losses.Dice()], [1.0, 0.5]),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


@pytest.fixture(autouse=True, scope="module")
def shallow_networks():
    with pytest.MonkeyPatch.context() as patch:
        make_networks_shallow(patch)
        # The variant with branches of every kind.
        patch.setitem(pidnet.SIZES, "s", pidnet.Size(4, 4, 4, 1, 1, heavy=True))
        yield


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def with_gradient(loss):
    def step(labels, logits, weights=None):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits, weights)
        return value, tape.gradient(value, logits)

    return tf.function(step)


def of_policy(dtype):
    return tf.TensorSpec(LOGITS.shape, dtype)


@every_loss
def test_a_loss_and_its_gradient_stay_on_the_gpu(loss):
    step = with_gradient(loss)
    assert stops(step.get_concrete_function(LABELS, LOGITS, WEIGHTS)) == set()
    assert stops(step.get_concrete_function(STATIC[LABELS], STATIC[LOGITS])) == set()


@pytest.mark.parametrize("dtype", ["int32", "int64", "int16", "float32", "bool"])
def test_labels_of_any_dtype_stay_on_the_gpu(dtype):
    labels = tf.TensorSpec((None, None, None, 1), dtype)
    step = with_gradient(losses.CrossEntropy())
    assert stops(step.get_concrete_function(labels, LOGITS)) == set()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_logits_of_half_precision_stay_on_the_gpu(dtype):
    loss = losses.WeightedSum([losses.CrossEntropy(), losses.Dice()], [1.0, 0.5])
    step = with_gradient(loss)
    assert stops(step.get_concrete_function(LABELS, of_policy(dtype))) == set()


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_stay_on_the_gpu(weighted):
    made = [metrics.MeanIoU(CLASSES), metrics.PixelAccuracy(CLASSES), metrics.MeanAccuracy(CLASSES)]

    @tf.function
    def step(labels, logits, weights):
        for metric in made:
            metric.update_state(labels, logits, weights if weighted else None)
        return [metric.result() for metric in made]

    assert stops(step.get_concrete_function(LABELS, LOGITS, WEIGHTS)) == set()


# The dtype for which TensorFlow has the fewest kernels.
@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
@every_architecture
def test_an_architecture_and_its_gradients_stay_on_the_gpu(name, policy):
    with layers.native_operations():
        options = SMALL.get(name, {"encoder": "resnet18"})
        model = kerasseg.build(name, num_classes=CLASSES, **options)

        @tf.function
        def step(images):
            with tf.GradientTape() as tape:
                value = sum(map(tf.reduce_sum, tf.nest.flatten(model(images, training=True))))
            return tape.gradient(value, [weight.value for weight in model.trainable_weights])

        of_one_size = tf.TensorSpec((2, 32, 32, 3))
        assert stops(step.get_concrete_function(of_one_size)) <= KERAS_DROPOUT


@every_architecture
def test_evaluation_and_prediction_at_any_size_stay_on_the_gpu(name):
    with layers.native_operations():
        options = SMALL.get(name, {"encoder": "resnet18"})
        model = kerasseg.build(name, num_classes=CLASSES, **options)
        model = inference.inference_model(model, (32, 32))
        observed = inference.Evaluator(model, CLASSES, observer=print)
        count = tf.function(observed._count_on_replicas)
        assert stops(count.get_concrete_function(IMAGES, LABELS)) == set()
    predict = tf.function(inference.label_map)
    assert stops(predict.get_concrete_function(LOGITS)) == set()


@pytest.mark.parametrize("trained", [False, True])
def test_a_crf_stays_on_the_gpu(trained):
    crf = layers.DenseCRF(num_iterations=1, trainable_weights=trained)
    infer = tf.function(lambda images, logits: crf([images, logits]))
    assert stops(infer.get_concrete_function(IMAGES, LOGITS)) == set()


def test_a_copy_to_the_host_and_an_operation_without_a_kernel_are_found():
    @tf.function
    def step(labels):
        known = tf.cast(labels, tf.int32)[:, tf.newaxis]
        return known, tf.strings.as_string(labels)

    found = stops(step.get_concrete_function(LABELS))
    assert "Cast -> StridedSlice (int32)" in found
    assert "AsString(uint8): no kernel" in found
