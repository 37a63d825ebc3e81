"""Numbers that the sources report for recipes trained on MNIST: {recipe: {column: number}}, accuracies in percent."""

from bstudy import Recipe


def cosines(*values):
    return {f"cosine, layer {layer}": value for layer, value in enumerate(values, 1)}


# Shen (2018), "Effect of batch size on training dynamics"
PUBLISHED = {
    Recipe.sgd(2, 0.01, 30): {"test_accuracy": 99},
    Recipe.sgd(64, 0.01, 30): {
        "train_subset_accuracy": 100,
        "test_accuracy": 98,
        "weight_distance": 6.71,
        "bias_distance": 0.11,
        "weight_norm": 44.9,
        **cosines(0.988, 0.993, 0.928),
    },
    Recipe.sgd(1024, 0.01, 30): {
        "test_accuracy": 95,
        "bias_distance": 0.07,
        "weight_norm": 44.1,
        **cosines(0.998, 0.998, 0.978),
    },
    Recipe.sgd(1024, 0.1, 30): {
        "test_accuracy": 98,
        "bias_distance": 0.10,
        "weight_norm": 44.7,
        **cosines(0.991, 0.994, 0.936),
    },
    Recipe.sgd(1024, 0.01, 480): {
        "test_accuracy": 98,
        "weight_distance": 6.63,
        "bias_distance": 0.11,
        "weight_norm": 44.9,
        **cosines(0.989, 0.993, 0.930),
    },
    Recipe.adam(64, 0.01, 30): {
        "test_accuracy": 95,
        "weight_distance": 254.3,
        "bias_distance": 18.3,
        "weight_norm": 258,
        **cosines(0.124, 0.359, 0.153),
    },
    Recipe.sgd(1024, 0.01, 1).then(batch_size=64, epochs=30): {"test_accuracy": 98},
    Recipe.sgd(1024, 0.01, 30).then(batch_size=64): {"test_accuracy": 98},
    Recipe.sgd(1024, 0.01, 30).then(learning_rate=0.1): {"test_accuracy": 98},
}
