"""What the parameters of the chapters mean. A name has one meaning and one type in the whole book."""

PARAMETER_HELP = {
    "adam_learning_rate": "learning rate of Adam, at the smallest batch size if several are compared",
    "batch_size": "batch size at the start of training",
    "batch_sizes": "batch sizes that are compared",
    "early_epochs": "epochs of training before the early measurement",
    "epochs": "epochs per phase of training, or the maximum if training stops at a target",
    "epsilon": "how far each weight may move in the search for the sharpness, as a fraction of its size plus 1",
    "growth_factor": "factor by which a milestone multiplies the batch size or divides the learning rate",
    "large_batch_size": "large batch size: of the comparison, or of the training before the measurement",
    "large_learning_rate": "larger learning rate that compensates for the large batch size",
    "late_epochs": "epochs of training before the late measurement",
    "learning_rate": "learning rate of training, unless the comparison changes it",
    "learning_rates": "learning rates that are compared",
    "noise_epochs": "epochs after which the noise of the gradient is measured",
    "passes": "number of timed epochs; their median counts",
    "replicas": "numbers of replicas that share each batch",
    "sgd_learning_rate": "learning rate of SGD at the smallest batch size",
    "small_batch_size": "small batch size of the comparison",
    "target_accuracy": "test accuracy at which training stops, in percent",
    "trial_learning_rate": "learning rate of the steps inside a trial",
    "trials": "number of trials, each with its own samples",
}
