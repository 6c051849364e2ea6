# The one list of the public names: type checkers read it, and so does __init__.py when a name is asked for.
from dropsight.errors import DropsightError as DropsightError
from dropsight.errors import ImageError as ImageError
from dropsight.errors import ModelError as ModelError
from dropsight.explain.gradients import GradCAM as GradCAM
from dropsight.explain.gradients import SaliencyMap as SaliencyMap
from dropsight.explain.perturbation import OcclusionMap as OcclusionMap
from dropsight.explain.perturbation import RiseMap as RiseMap
from dropsight.inference.results import BatchResults as BatchResults
from dropsight.inference.results import ClipResult as ClipResult
from dropsight.inference.results import ImageFailure as ImageFailure
from dropsight.inference.results import ImageResult as ImageResult
from dropsight.inference.runtime import ImageInferenceRuntime as ImageInferenceRuntime
from dropsight.inference.runtime import run_image_inference as run_image_inference
from dropsight.inference.video_runtime import VideoInferenceRuntime as VideoInferenceRuntime
from dropsight.inference.video_runtime import predict_video as predict_video
from dropsight.inference.video_runtime import run_video_inference as run_video_inference
from dropsight.models.backends import open_model as open_model

__version__: str
