"""What people ask beyond the world of shapes, and fixed answers; `training.wordings` has the rest.

In braces: `{picture}`, `{name}` what is asked about, `{a_name}` it with its article, `{names}` its plural. Korean
particles that depend on the word before stand after a slash pair: "이/가".
"""

from __future__ import annotations

from typing import Final

from training.captions import Language
from training.wordings import Wordings

UNKNOWN: Final[dict[Language, str]] = {
    "en": "I do not know.",
    "ko": "모르겠습니다.",
    "ja": "わかりません。",
}
NOTHING_KNOWN: Final[dict[Language, str]] = {
    "en": "I do not know what this picture shows.",
    "ko": "이 사진에 무엇이 있는지 모르겠습니다.",
    "ja": "この写真に何が写っているかわかりません。",
}
"""Of a photograph of nothing that has a name here."""
ABOUT_ITSELF: Final[dict[Language, str]] = {
    "en": "I am a small model that answers questions about pictures. Please send me one.",
    "ko": "저는 그림과 사진에 대한 질문에 답하는 작은 모델입니다. 그림을 보내 주세요.",
    "ja": "私は絵や写真についての質問に答える小さなモデルです。画像を送ってください。",
}
NOT_THERE: Final[dict[Language, str]] = {
    "en": "Not in the picture",
    "ko": "그림에 없습니다",
    "ja": "絵の中にありません",
}

THING: Final[Wordings] = {
    "en": (
        "thing",
        "object",
        "item",
    ),
    "ko": (
        "물체",
        "물건",
        "사물",
    ),
    "ja": (
        "物",
        "もの",
        "オブジェクト",
    ),
}
WHAT_THING: Final[Wordings] = {
    "en": (
        "What is it?",
        "What object is this?",
        "What is the main object?",
        "What is the main subject of this {picture}?",
        "Name the thing in this {picture}.",
        "What thing is this?",
        "What is the object in the {picture}?",
        "Identify the object.",
        "Name it.",
        "What is the name of this thing?",
        "What is in the {picture}? Answer with one word.",
        "Which object is shown? One word.",
        "Classify this {picture}.",
        "What is the subject?",
        "What is drawn here?",
        "Answer with one word: what is this?",
    ),
    "ko": (
        "{picture}에 있는 것은 뭐야?",
        "무엇을 그린 거야?",
        "이건 무슨 물건이야?",
        "주인공이 뭐야?",
        "이 {picture}의 주제는 무엇인가요?",
        "이 물건의 이름은 뭐야?",
        "한 단어로 답해 줘: 이게 뭐야?",
        "뭘 그린 그림이야?",
    ),
    "ja": (
        "{picture}に写っているのは何ですか?",
        "何の絵ですか?",
        "何という物ですか?",
        "名前を一言で答えてください。",
        "主な被写体は何ですか?",
        "これの名前は何ですか?",
        "一言で答えて:これは何?",
    ),
}
"""Asks for the name of what stands alone."""
WHAT_KIND: Final[dict[str, Wordings]] = {
    "animals": {
        "en": (
            "What animal is this?",
            "Which animal is in the {picture}?",
            "What animal do you see?",
            "What kind of animal is it?",
            "Which animal is this? Answer with one word.",
        ),
        "ko": (
            "무슨 동물이야?",
            "이 동물은 무엇인가요?",
            "어떤 동물이 있어?",
            "무슨 동물이 보여?",
        ),
        "ja": (
            "何の動物ですか?",
            "この動物は何ですか?",
            "どんな動物がいますか?",
            "何という動物?",
        ),
    },
    "food": {
        "en": (
            "What food is this?",
            "Which food is in the {picture}?",
            "What can I eat here?",
            "What dish is this?",
            "What fruit or food is this?",
        ),
        "ko": (
            "무슨 음식이야?",
            "이 음식은 무엇인가요?",
            "어떤 음식이 있어?",
        ),
        "ja": (
            "何の食べ物ですか?",
            "この食べ物は何ですか?",
            "どんな食べ物がありますか?",
        ),
    },
    "vehicles": {
        "en": (
            "What vehicle is this?",
            "Which vehicle is in the {picture}?",
            "What kind of vehicle do you see?",
        ),
        "ko": (
            "무슨 탈것이야?",
            "이 탈것은 무엇인가요?",
        ),
        "ja": (
            "何の乗り物ですか?",
            "この乗り物は何ですか?",
        ),
    },
}
"""The same by a category of `training.art.subjects`."""
COUNT_THINGS: Final[Wordings] = {
    "en": (
        "How many {names} are there?",
        "How many {names} are in the {picture}?",
        "How many {names} do you see?",
        "Count the {names}.",
        "What is the number of {names}?",
    ),
    "ko": (
        "{name}이/가 몇 개야?",
        "{name}은/는 몇 개 있나요?",
        "{picture}에 {name}이/가 몇 개 있어?",
        "{name}은/는 모두 몇이야?",
    ),
    "ja": (
        "{name}はいくつありますか?",
        "{name}は何個ありますか?",
        "{name}の数は?",
        "{name}はいくつ?",
    ),
}
OBJECTS: Final[Wordings] = {
    "en": (
        "List the objects in this {picture}, one per line.",
        "List all objects in the {picture}.",
        "List the objects.",
        "List everything in the {picture}, one per line.",
        "Which objects are in this {picture}?",
        "What objects are visible? One per line.",
        "Name the objects in this {picture}.",
        "Enumerate the objects in the {picture}.",
    ),
    "ko": (
        "이 {picture}에 있는 물체를 한 줄에 하나씩 나열해 줘.",
        "물체를 나열해 주세요.",
        "보이는 것을 모두 나열해 줘.",
        "{picture}에 있는 것을 한 줄에 하나씩 적어 주세요.",
    ),
    "ja": (
        "この{picture}にある物を一行に一つずつ挙げてください。",
        "物を列挙してください。",
        "見えるものをすべて挙げて。",
        "{picture}の中の物を一行に一つずつ書いてください。",
    ),
}
MORE: Final[Wordings] = {
    "en": ("Which {picture} has more things?", "Which {picture} shows more objects?", "Which one has more objects?"),
    "ko": ("어느 {picture}에 물체가 더 많아?", "물체가 더 많은 {picture}은/는 어느 것인가요?"),
    "ja": ("どちらの{picture}に物が多いですか?", "物が多いのはどちらですか?"),
}
COUNT_ANIMALS: Final[Wordings] = {
    "en": (
        "How many animals are there?",
        "Count the animals.",
        "How many animals do you see?",
    ),
    "ko": (
        "동물이 몇 마리야?",
        "동물은 몇 마리 있나요?",
    ),
    "ja": (
        "動物は何匹いますか?",
        "動物の数は?",
    ),
}
GROUND: Final[Wordings] = {
    "en": (
        "What is in the background?",
        "What is the background?",
        "Where is this?",
        "Where does this take place?",
        "What is the setting?",
        "What place is this?",
        "Which place does the {picture} show?",
        "Describe the background.",
        "Where was this {picture} made?",
    ),
    "ko": (
        "배경은 뭐야?",
        "배경은 무엇인가요?",
        "여기는 어디야?",
        "어디인가요?",
        "배경에 뭐가 있어?",
        "배경을 설명해 줘.",
    ),
    "ja": (
        "背景は何ですか?",
        "背景は?",
        "ここはどこですか?",
        "どこですか?",
        "背景に何がありますか?",
        "背景を説明して。",
    ),
}
IS_GROUND: Final[Wordings] = {
    "en": (
        "Is this {where}?",
        "Is it {where}?",
        "Was this made {where}?",
        "Is the picture set {where}?",
    ),
    "ko": (
        "배경이 {ground}인가요?",
        "배경은 {ground}이야/야?",
        "여기는 {ground}인가요?",
    ),
    "ja": (
        "背景は{ground}ですか?",
        "ここは{ground}ですか?",
    ),
}
IS_KIND: Final[dict[str, Wordings]] = {
    "animals": {
        "en": (
            "Is there an animal?",
            "Are there any animals?",
            "Does the {picture} show an animal?",
            "Do you see an animal?",
        ),
        "ko": (
            "동물이 있어?",
            "동물이 있나요?",
            "{picture}에 동물이 보여?",
        ),
        "ja": (
            "動物はいますか?",
            "{picture}に動物がいますか?",
        ),
    },
    "food": {
        "en": (
            "Is there any food?",
            "Is this food?",
            "Does the {picture} show something to eat?",
        ),
        "ko": (
            "음식이 있어?",
            "먹을 것이 있나요?",
        ),
        "ja": (
            "食べ物はありますか?",
            "{picture}に食べ物がありますか?",
        ),
    },
    "people": {
        "en": (
            "Are there any people in the {picture}?",
            "Is there a person?",
            "Does the {picture} contain people?",
        ),
        "ko": (
            "사람이 나오나요?",
            "사람이 있어?",
        ),
        "ja": (
            "人は写っていますか?",
            "人がいますか?",
        ),
    },
    "vehicles": {
        "en": (
            "Is there a vehicle?",
            "Are there any vehicles?",
        ),
        "ko": (
            "탈것이 있어?",
            "차량이 있나요?",
        ),
        "ja": (
            "乗り物はありますか?",
            "乗り物がある?",
        ),
    },
}
UNSAFE: Final[Wordings] = {
    "en": (
        "Is this {picture} unsafe?",
        "Does this {picture} contain violence?",
        "Does this {picture} contain nudity?",
        "Is there anything inappropriate in this {picture}? Answer yes or no.",
        "Should this {picture} be flagged?",
        "Does this contain sensitive or explicit content?",
    ),
    "ko": (
        "이 {picture}는/은 위험한가요?",
        "폭력적인 내용이 있나요?",
        "부적절한 내용이 있어?",
    ),
    "ja": (
        "この{picture}は危険ですか?",
        "暴力的な内容はありますか?",
        "不適切な内容はありますか?",
    ),
}
BEYOND: Final[Wordings] = {
    "en": (
        "Who took this {picture}?",
        "What year is it?",
        "When was this taken?",
        "How much does it cost?",
        "Who is this person?",
        "What is the name of the person?",
        "What brand is it?",
        "In which country was this taken?",
        "How old is it?",
        "What is the temperature?",
        "Which camera was used?",
        "Who painted this?",
        "What happens next?",
        "How heavy is it?",
        "What is the person thinking?",
        "What time of year is it?",
        "Is it expensive?",
        "Why is it there?",
        "What does it mean?",
        "What is the phone number?",
        "Solve the equation in the {picture}.",
        "Which team won?",
        "Tell me a story about it.",
        "What does the doctor say?",
        "Convert this diagram to code.",
        "What is the total on the receipt?",
    ),
    "ko": (
        "누가 찍었어?",
        "언제 찍은 거야?",
        "가격이 얼마야?",
        "이 사람은 누구야?",
        "어느 나라야?",
        "몇 살이야?",
        "왜 거기 있어?",
        "이 사람의 이름은 뭐야?",
        "무게가 얼마나 돼?",
        "영수증의 합계는 얼마야?",
        "무슨 뜻이야?",
    ),
    "ja": (
        "誰が撮りましたか?",
        "いつ撮ったものですか?",
        "値段はいくらですか?",
        "この人は誰ですか?",
        "どこの国ですか?",
        "何歳ですか?",
        "なぜそこにいるの?",
        "この人の名前は?",
        "重さはどのくらい?",
        "合計はいくらですか?",
        "どういう意味ですか?",
    ),
}
"""Nothing that a picture here tells."""
COLOURS_SAID: Final[dict[Language, dict[str, str]]] = {
    "en": {"brown": "brown", "grey": "grey", "pink": "pink"},
    "ko": {"brown": "갈색", "grey": "회색", "pink": "분홍색"},
    "ja": {"brown": "茶色", "grey": "灰色", "pink": "ピンク"},
}
"""Colours that drawings have beyond those of shapes."""
CATEGORIES: Final[dict[str, dict[Language, str]]] = {
    "animals": {"en": "animal", "ko": "동물", "ja": "動物"},
    "food": {"en": "food", "ko": "음식", "ja": "食べ物"},
    "vehicles": {"en": "vehicle", "ko": "탈것", "ja": "乗り物"},
    "people": {"en": "person", "ko": "사람", "ja": "人"},
}
OTHER: Final[dict[Language, str]] = {"en": "object", "ko": "물건", "ja": "物"}
EMPTY: Final[dict[Language, str]] = {"en": "Nothing", "ko": "아무것도 없습니다", "ja": "何もありません"}
LEADS: Final = (
    "a picture of",
    "an image of",
    "a photo of",
    "a drawing of",
    "a photograph of",
    "an illustration of",
    "there is",
    "this is",
    "this picture shows",
    "a painting of",
    "the picture shows",
    "this is a picture of",
)
"""What a caller may give a captioner to go on from."""
JSON_ASKED: Final[Wordings] = {
    "en": (
        "Describe this {picture} as JSON.",
        "Return JSON.",
        "Answer in JSON.",
        "Extract the information as JSON.",
        "Analyze this {picture} and return JSON.",
        "Give me structured data about this {picture}.",
    ),
    "ko": (
        "이 {picture}를/을 JSON으로 설명해 줘.",
        "JSON으로 답해 줘.",
        "정보를 추출해 줘.",
    ),
    "ja": (
        "この{picture}をJSONで説明してください。",
        "JSONで答えて。",
        "情報を抽出してください。",
    ),
}
JSON_KEYED: Final[Wordings] = {
    "en": (
        "What do you see?",
        "Fill in the form.",
        "Describe the {picture}.",
        "What is in this {picture}?",
        "Extract.",
    ),
    "ko": ("무엇이 보이나요?", "빈칸을 채워 줘."),
    "ja": ("何が見えますか?", "項目を埋めてください。"),
}
"""They ask for JSON only where keys stand after them."""
JSON_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "name": (
        "name",
        "object",
        "thing",
        "subject",
        "main_subject",
        "item",
        "label",
        "what",
        "main_object",
        "class",
        "title",
        "entity",
    ),
    "animal": (
        "animal",
        "creature",
        "species",
        "pet",
    ),
    "food": (
        "food",
        "fruit",
        "dish",
        "meal",
    ),
    "vehicle": (
        "vehicle",
        "transport",
    ),
    "count": (
        "count",
        "number",
        "number_of_objects",
        "object_count",
        "num_objects",
        "how_many",
        "total",
        "quantity",
        "n",
    ),
    "ground": (
        "background",
        "setting",
        "scene",
        "environment",
        "place",
        "location",
        "where",
        "backdrop",
    ),
    "ground colour": (
        "background_color",
        "background_colour",
        "backgroundColor",
        "bg_color",
    ),
    "position": (
        "position",
        "pos",
        "placement",
        "side",
        "object_position",
    ),
    "text": (
        "text",
        "word",
        "visible_text",
        "ocr",
        "caption_text",
        "written",
        "words",
    ),
    "objects": (
        "objects",
        "items",
        "things",
        "labels",
        "tags",
        "contents",
        "entities",
    ),
    "has text": (
        "has_text",
        "contains_text",
        "text_present",
        "is_text_visible",
    ),
    "has animal": (
        "has_animal",
        "contains_animal",
        "animal_present",
        "is_animal",
    ),
    "has people": (
        "has_person",
        "has_people",
        "contains_people",
        "people",
    ),
    "is safe": (
        "safe",
        "is_safe",
    ),
    "is unsafe": (
        "unsafe",
        "nsfw",
        "is_unsafe",
        "flagged",
    ),
    "description": (
        "description",
        "caption",
        "summary",
        "alt_text",
        "alt",
        "sentence",
    ),
    "category": (
        "category",
        "type",
        "kind",
    ),
}
"""What a key of JSON means, by the names that people give it."""
PHOTO_OF: Final[dict[Language, str]] = {
    "en": "A photo of {a_name}.",
    "ko": "{name} 사진입니다.",
    "ja": "{name}の写真です。",
}
