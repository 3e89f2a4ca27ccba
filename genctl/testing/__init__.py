"""The laws that every model keeps, for authors of models.

    pytest --pyargs genctl.testing --model NAME

Each form in `small` of the model's config is built, trained for some steps, resumed, drawn from and scored on images of
a few pixels. Without --model all registered models are tested. Needs pytest.
"""
