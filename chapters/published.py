"""What the sources report of single recipes trained on MNIST: {recipe: {column: number}}, in the columns' units."""

from bstudy import Recipe

# Shen (2018), "Effect of batch size on training dynamics"
PUBLISHED = {
    Recipe.sgd(2, 0.01, 30): {"test_accuracy": 0.99},
    Recipe.sgd(64, 0.01, 30): {
        "train_accuracy": 1.0,
        "test_accuracy": 0.98,
        "weight_distance": 6.71,
        "bias_distance": 0.11,
    },
    Recipe.sgd(1024, 0.01, 30): {"test_accuracy": 0.95, "bias_distance": 0.07},
    Recipe.sgd(1024, 0.1, 30): {"test_accuracy": 0.98, "bias_distance": 0.10},
    Recipe.sgd(1024, 0.01, 1).then(batch_size=64, epochs=30): {"test_accuracy": 0.98},
    Recipe.sgd(1024, 0.01, 30).then(batch_size=64): {"test_accuracy": 0.98},
    Recipe.sgd(1024, 0.01, 30).then(learning_rate=0.1): {"test_accuracy": 0.98},
}
