"""The hub repositories of each benchmark task, for `data.download`.

`eval/tasks/*.yaml` declares the same, and a test compares the two: `data` must not read files of `eval`.
"""

from __future__ import annotations

from collections.abc import Mapping

_MEDIA = "TIGER-Lab/MMEB-V2"
_IMAGE_ROWS = "ziyjiang/MMEB_Test_Instruct"

_IMAGE_TASKS = [
    "ImageNet-1K",
    "N24News",
    "HatefulMemes",
    "VOC2007",
    "SUN397",
    "Place365",
    "ImageNet-A",
    "ImageNet-R",
    "ObjectNet",
    "Country211",
    "OK-VQA",
    "A-OKVQA",
    "DocVQA",
    "InfographicsVQA",
    "ChartQA",
    "Visual7W",
    "ScienceQA",
    "VizWiz",
    "GQA",
    "TextVQA",
    "VisDial",
    "CIRR",
    "VisualNews_t2i",
    "VisualNews_i2t",
    "MSCOCO_t2i",
    "MSCOCO_i2t",
    "NIGHTS",
    "WebQA",
    "FashionIQ",
    "Wiki-SS-NQ",
    "OVEN",
    "EDIS",
    "MSCOCO",
    "RefCOCO",
    "RefCOCO-Matching",
    "Visual7W-Pointing",
]
_VIDEO_ROWS = {
    "K700": "VLM2Vec/Kinetics-700",
    "SmthSmthV2": "VLM2Vec/SmthSmthV2",
    "HMDB51": "VLM2Vec/HMDB51",
    "UCF101": "VLM2Vec/UCF101",
    "Breakfast": "VLM2Vec/Breakfast",
    "MVBench": "VLM2Vec/MVBench",
    "Video-MME": "VLM2Vec/Video-MME",
    "NExTQA": "VLM2Vec/NExTQA",
    "EgoSchema": "VLM2Vec/EgoSchema",
    "ActivityNetQA": "VLM2Vec/ActivityNetQA",
    "DiDeMo": "VLM2Vec/DiDeMo",
    "MSR-VTT": "VLM2Vec/MSR-VTT",
    "MSVD": "VLM2Vec/MSVD",
    "VATEX": "VLM2Vec/VATEX",
    "YouCook2": "lmms-lab/YouCook2",
    "QVHighlight": "VLM2Vec/QVHighlight",
    "Charades-STA": "VLM2Vec/Charades-STA",
    "MomentSeeker": "VLM2Vec/MomentSeeker",
}
_DOCUMENTS = {
    "ViDoRe_arxivqa": "vidore/arxivqa_test_subsampled_beir",
    "ViDoRe_docvqa": "vidore/docvqa_test_subsampled_beir",
    "ViDoRe_infovqa": "vidore/infovqa_test_subsampled_beir",
    "ViDoRe_tabfquad": "vidore/tabfquad_test_subsampled_beir",
    "ViDoRe_tatdqa": "vidore/tatdqa_test_beir",
    "ViDoRe_shiftproject": "vidore/shiftproject_test_beir",
    "ViDoRe_syntheticDocQA_artificial_intelligence": "vidore/syntheticDocQA_artificial_intelligence_test_beir",
    "ViDoRe_syntheticDocQA_energy": "vidore/syntheticDocQA_energy_test_beir",
    "ViDoRe_syntheticDocQA_government_reports": "vidore/syntheticDocQA_government_reports_test_beir",
    "ViDoRe_syntheticDocQA_healthcare_industry": "vidore/syntheticDocQA_healthcare_industry_test_beir",
    "ViDoRe_esg_reports_human_labeled_v2": "vidore/esg_reports_human_labeled_v2",
    "ViDoRe_biomedical_lectures_v2_multilingual": "vidore/biomedical_lectures_v2",
    "ViDoRe_economics_reports_v2_multilingual": "vidore/economics_reports_v2",
    "ViDoRe_esg_reports_v2_multilingual": "vidore/esg_reports_v2",
    "VisRAG_ArxivQA": "openbmb/VisRAG-Ret-Test-ArxivQA",
    "VisRAG_ChartQA": "openbmb/VisRAG-Ret-Test-ChartQA",
    "VisRAG_MP-DocVQA": "openbmb/VisRAG-Ret-Test-MP-DocVQA",
    "VisRAG_SlideVQA": "openbmb/VisRAG-Ret-Test-SlideVQA",
    "VisRAG_InfoVQA": "openbmb/VisRAG-Ret-Test-InfoVQA",
    "VisRAG_PlotQA": "openbmb/VisRAG-Ret-Test-PlotQA",
    "ViDoSeek-page": "VLM2Vec/ViDoSeek-page-fixed",
    "ViDoSeek-doc": "VLM2Vec/ViDoSeek",
    "MMLongBench-page": "VLM2Vec/MMLongBench-page-fixed",
    "MMLongBench-doc": "VLM2Vec/MMLongBench-doc",
}

TASK_REPOSITORIES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_IMAGE_TASKS, (_IMAGE_ROWS, _MEDIA)),
    **{name: (rows, _MEDIA) for name, rows in _VIDEO_ROWS.items()},
    **{name: (rows,) for name, rows in _DOCUMENTS.items()},
}

# The data of the paper's scores, for tasks whose data have changed since.
PAPER_REPOSITORIES: Mapping[str, str] = {
    "MomentSeeker": "VLM2Vec/MomentSeeker_1k8",
    "ViDoSeek-page": "VLM2Vec/ViDoSeek-page",
    "MMLongBench-page": "VLM2Vec/MMLongBench",
}
