"""Records as earlier versions have stored them: they are read, and written back byte for byte."""

import pytest
from pydantic import BaseModel

from schemas.gates import Gate
from schemas.promotions import PromotionRecord
from schemas.verdicts import Verdict
from schemas.weighings import WeighingRecord

_DIGEST = "6d2a84b5c2705fa6f215f6c5b8d90d846f4ed6af48e0031e207f1e2eba69785d"
_GATE = (
    '{"name":"climate-rag","watch":["org/wandb-registry-RAG Chat Models/*"],'
    '"when_alias":"candidate*","rag_model":"weave:///team/project/object/RagModel:latest",'
    '"evaluation":"weave:///team/project/object/climate_rag_eval:v3",'
    '"chat_model":{"cm_temperature":0.0,"cm_max_new_tokens":64,"cm_quantize":null,'
    '"inference_batch_size":null,"dtype":null,"device":null},'
    '"thresholds":[{"metric":"answer_correctness.mean","slice":{"topic":"sea-level"},'
    '"min_rows":20,"at_least":0.7},'
    '{"metric":"model_latency.mean","slice":{},"min_rows":null,"at_most":2.0},'
    '{"metric":"answer_correctness.mean","slice":{},"min_rows":null,"margin":0.02,'
    '"confidence":0.95,"lower_is_better":null,"detectable":null,"cluster":"topic",'
    '"no_worse_than":"champion"},'
    '{"metric":"usage.total_tokens","slice":{},"min_rows":null,"margin":0.0,'
    '"confidence":0.95,"lower_is_better":true,"detectable":0.1,"cluster":null,'
    '"better_than":"champion"}],'
    '"promote":{"to":"org/wandb-registry-RAG Models/RAG Model","aliases":["production"]},'
    '"early_stop":{"confidence":0.9,"batch":8},"approval":"required",'
    '"allow_stored_code":false,"trust_remote_code":false}'
)
_CHECK = (
    '{"threshold":{"metric":"model_latency.mean","slice":{},"min_rows":null,"at_most":2.0},'
    '"value":1.5,"passed":true,"comparison":null,"note":"","decidable":true}'
)
_COMPARED_CHECK = (
    '{"threshold":{"metric":"answer_correctness.mean","slice":{},"min_rows":null,"margin":0.02,'
    '"confidence":0.95,"lower_is_better":null,"detectable":null,"cluster":"topic",'
    '"no_worse_than":"champion"},"value":0.8125,"passed":true,'
    '"comparison":{"champion":0.75,"difference":0.0625,"interval":[-0.01,0.135],'
    '"confidence":0.95,"method":"paired bootstrap of clusters, BCa","p_value":null,'
    '"detectable":0.1,"rows":32,"clusters":4},"note":"","decidable":true}'
)
_VERDICT = (
    '{"weighing":{"gate":"climate-rag",'
    '"collection":"org/wandb-registry-RAG Chat Models/Llama 3","number":3},'
    '"source":"poller","outcome":"promoted","reason":"All 2 thresholds hold.",'
    f'"gate_digest":"{_DIGEST}","checks":[{_CHECK},{_COMPARED_CHECK}],'
    '"evidence":{"weave_call":"0199","weave_url":"https://wandb.ai/team/project/r/call/0199",'
    '"run_url":"https://wandb.ai/team/project/runs/abc",'
    '"rag_model":"weave:///team/project/object/RagModel:Zk0PqW6s",'
    '"evaluation":"weave:///team/project/object/climate_rag_eval:b7TqX1mN",'
    '"dataset":"weave:///team/project/object/climate_questions:Lr5Yt8Vw",'
    '"rows":32,"of_rows":66,'
    '"champion":{"version":"org/wandb-registry-RAG Models/RAG Model:v1",'
    '"rag_model":"weave:///team/project/object/RagModel:A1s2D3f4","weave_call":"0188",'
    '"evaluated_again":true}},'
    '"promoted_ref":"org/wandb-registry-RAG Models/RAG Model:v2",'
    '"decision":{"approved":true,"by":"ada","why":"","at":"2026-11-30T12:00:00Z"},'
    '"report":"/reports/a",'
    '"seconds":{"download":1.5,"rebuild":0.0,"evaluate":0.0,"weigh":0.25,"promote":0.0}}'
)
_PROMOTION = (
    f'{{"gate":"climate-rag","gate_digest":"{_DIGEST}",'
    '"chat_model":"wandb-artifact:///org/wandb-registry-RAG Chat Models/Llama 3:v3",'
    '"url":"https://wandb.ai/team/project/weave/objects/RagModel/versions/Zk0PqW6s",'
    '"evaluation":"weave:///team/project/object/climate_rag_eval:b7TqX1mN",'
    '"dataset":"weave:///team/project/object/climate_questions:Lr5Yt8Vw",'
    '"weave_call":"0199","run":"team/project/abc",'
    '"champion":"org/wandb-registry-RAG Models/RAG Model:v1",'
    f'"checks":[{_CHECK}],"versions":{{"wandb":"0.31.0"}},"approved_by":"ada",'
    '"promoted_at":"2026-11-30T12:00:01Z"}'
)
_RECORD = (
    '{"id":{"gate":"climate-rag","collection":"org/wandb-registry-RAG Chat Models/Llama 3",'
    f'"number":3}},"gate":{_GATE},'
    '"event":{"ref":{"entity":"org","project":"wandb-registry-RAG Chat Models",'
    '"collection":"Llama 3","version":"v3"},"artifact_id":null,"source":"webhook",'
    '"author":"ada","alias":null,"noticed_at":"2026-11-30T11:00:00Z","gate":null,'
    '"force":false},"state":"promoted","attempts":1,"holder":"","reason":"",'
    '"opened_at":"2026-11-30T11:00:00Z","queued_at":"2026-11-30T11:00:00Z",'
    '"started_at":null,"ended_at":null,"lease_until":null,"next_try_at":null,'
    '"progress":{"step":"weigh","detail":"","done":1,"total":2,"metrics":{"a":0.5}},'
    f'"verdict":{_VERDICT},"decision":null}}'
)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (Gate, _GATE),
        (Verdict, _VERDICT),
        (PromotionRecord, _PROMOTION),
        (WeighingRecord, _RECORD),
        (
            PromotionRecord,
            _PROMOTION.replace('"org/wandb-registry-RAG Models/RAG Model:v1"', "null"),
        ),
    ],
)
def test_a_stored_record_is_written_back_byte_for_byte(schema: type[BaseModel], text: str) -> None:
    assert schema.model_validate_json(text).model_dump_json() == text


def test_a_gate_keeps_its_digest() -> None:
    assert Gate.model_validate_json(_GATE).digest == _DIGEST
