"""How people ask about a picture, in English, Korean and Japanese: the sentences that `training.questions` fills in.

In braces: `{picture}` a word for picture, `{shape}` a word for shape, `{name}` what is asked about, `{place}` where.
Korean particles that depend on the word before stand after a slash pair: "이/가".
"""

from __future__ import annotations

from collections.abc import Mapping

from training.captions import Language
from training.world import Colour

Wordings = Mapping[Language, tuple[str, ...]]

PICTURE: Wordings = {
    "en": ("image", "picture", "photo"),
    "ko": ("이미지", "그림", "사진"),
    "ja": ("画像", "絵", "写真"),
}
SHAPE: Wordings = {
    "en": ("shape", "shape", "object", "figure", "thing"),
    "ko": ("도형", "도형", "물체", "모양"),
    "ja": ("図形", "図形", "物", "形"),
}

DESCRIBE: Wordings = {
    "en": (
        "What is in this {picture}?",
        "What's in this {picture}?",
        "What is in the {picture}?",
        "What do you see?",
        "What do you see in this {picture}?",
        "What can you see in the {picture}?",
        "What does this {picture} show?",
        "What is shown in the {picture}?",
        "What is shown here?",
        "What is this?",
        "What's this?",
        "Describe this {picture}.",
        "Describe the {picture}.",
        "Describe what you see.",
        "Describe the contents of this {picture}.",
        "Tell me about this {picture}.",
        "Explain this {picture}.",
        "Can you describe this {picture}?",
        "What am I looking at?",
        "",
    ),
    "ko": (
        "이 {picture}에 뭐가 있어?",
        "이 {picture}에 무엇이 있나요?",
        "이 {picture}에는 무엇이 있습니까?",
        "{picture}에 뭐가 보여?",
        "뭐가 보여?",
        "무엇이 보이나요?",
        "이게 뭐야?",
        "이것은 무엇인가요?",
        "이 {picture}를/을 설명해 줘.",
        "이 {picture}를/을 설명해줘",
        "이 {picture}를/을 설명해 주세요.",
        "이 {picture}를/을 묘사해 줘.",
        "이 {picture}에 대해 알려 줘.",
        "이 {picture}는/은 무엇을 보여 주나요?",
        "무슨 {picture}야?",
    ),
    "ja": (
        "この{picture}には何がありますか?",
        "この{picture}には何が写っていますか?",
        "この{picture}に何がある?",
        "{picture}に何が見えますか?",
        "何が見えますか?",
        "何が写っていますか?",
        "これは何ですか?",
        "これは何?",
        "この{picture}を説明してください。",
        "この{picture}を説明して。",
        "この{picture}について教えてください。",
        "{picture}の内容を説明してください。",
    ),
}
CAPTION: Wordings = {
    "en": (
        "Describe this {picture} in one short sentence.",
        "Describe this {picture} in one sentence.",
        "Describe the {picture} in a single sentence.",
        "Caption this {picture}.",
        "Write a caption for this {picture}.",
        "Write a short caption.",
        "Give a one-sentence caption.",
        "Give me a short description of this {picture}.",
        "Provide a brief caption for this {picture}.",
        "Briefly describe this {picture}.",
        "Summarize this {picture} in one sentence.",
    ),
    "ko": (
        "이 {picture}를/을 한 문장으로 설명해 줘.",
        "이 {picture}를/을 한 문장으로 설명해 주세요.",
        "이 {picture}에 캡션을 달아 줘.",
        "짧은 캡션을 써 주세요.",
        "한 문장으로 묘사해 줘.",
    ),
    "ja": (
        "この{picture}を一文で説明してください。",
        "この{picture}を短く説明してください。",
        "この{picture}にキャプションを付けてください。",
        "短いキャプションを書いて。",
        "一言で説明して。",
    ),
}
DETAIL: Wordings = {
    "en": (
        "Describe this {picture} in detail: objects, colours, composition and mood.",
        "Describe this {picture} in detail.",
        "Describe the {picture} in detail: objects, colors, composition, mood.",
        "Give a detailed description of this {picture}.",
        "Give me a detailed description.",
        "Describe everything you see in detail.",
        "Write a detailed description of the {picture}.",
    ),
    "ko": (
        "이 {picture}를/을 자세히 설명해 줘.",
        "이 {picture}를/을 자세히 설명해 주세요.",
        "{picture}를/을 자세하게 묘사해 주세요.",
    ),
    "ja": (
        "この{picture}を詳しく説明してください。",
        "この{picture}を詳しく説明して。",
        "{picture}を詳細に説明してください。",
    ),
}
ANALYSE: Wordings = {
    "en": (
        "Analyze this image: main subject; objects and positions; colours and light; visible text; meaning.",
        "Analyze this {picture}.",
        "Analyse this {picture}.",
        "Analyze the {picture}: main subject, objects and positions, colors and light, visible text, meaning.",
        "Give a full analysis of this {picture}.",
    ),
    "ko": ("이 {picture}를/을 분석해 줘.", "이 {picture}를/을 분석해 주세요."),
    "ja": ("この{picture}を分析してください。", "この{picture}を分析して。"),
}
OBJECTS: Wordings = {
    "en": (
        "List the objects in this {picture}, one per line.",
        "List all objects in the {picture}.",
        "List the objects.",
        "List every {shape} in the {picture}, one per line.",
        "List all the shapes you see.",
        "Which objects are in this {picture}?",
        "What objects are visible? One per line.",
        "Name the objects in this {picture}.",
        "Enumerate the objects in the {picture}.",
    ),
    "ko": (
        "이 {picture}에 있는 물체를 한 줄에 하나씩 나열해 줘.",
        "물체를 나열해 주세요.",
        "도형을 모두 나열해 줘.",
        "{picture}에 있는 도형을 한 줄에 하나씩 적어 주세요.",
    ),
    "ja": (
        "この{picture}にある物を一行に一つずつ挙げてください。",
        "物を列挙してください。",
        "図形をすべて挙げて。",
        "{picture}の中の図形を一行に一つずつ書いてください。",
    ),
}
READ: Wordings = {
    "en": (
        "Read the text in this image. Answer with the text only.",
        "Read the text in this {picture}.",
        "Read the text.",
        "What does the text say?",
        "What does it say?",
        "What is written in the {picture}?",
        "What is written here?",
        "What text is in this {picture}?",
        "What word is in the {picture}?",
        "What is the word?",
        "What word or number is written?",
        "What number is shown?",
        "Extract all visible text.",
        "Extract the text from this {picture}.",
        "Transcribe the text.",
        "OCR this {picture}.",
        "Return only the visible text.",
        "Is there any text? What does it say?",
    ),
    "ko": (
        "글자를 읽어 줘.",
        "이 {picture}의 글자를 읽어 주세요.",
        "뭐라고 쓰여 있어?",
        "{picture}에 뭐라고 적혀 있나요?",
        "어떤 글자가 있나요?",
        "텍스트를 추출해 줘.",
        "{picture}에서 텍스트를 추출해 주세요.",
        "무슨 단어가 쓰여 있어?",
    ),
    "ja": (
        "文字を読んでください。",
        "何と書いてありますか?",
        "何と書かれていますか?",
        "なんて書いてある?",
        "{picture}の中の文字を読み取ってください。",
        "テキストを抽出してください。",
        "どんな文字がありますか?",
    ),
}

COUNT_ALL: Wordings = {
    "en": (
        "How many {shape}s are there?",
        "How many {shape}s are in the {picture}?",
        "How many {shape}s are in this {picture}?",
        "How many {shape}s do you see?",
        "How many {shape}s can you see?",
        "Count the {shape}s.",
        "Count the {shape}s in the {picture}.",
        "What is the number of {shape}s?",
        "How many are there?",
    ),
    "ko": (
        "{shape}이/가 몇 개야?",
        "{shape}이/가 몇 개 있어?",
        "{shape}은/는 몇 개인가요?",
        "{picture}에 {shape}이/가 몇 개 있나요?",
        "{shape}의 개수를 세어 줘.",
        "몇 개 있어?",
    ),
    "ja": (
        "{shape}はいくつありますか?",
        "{picture}に{shape}はいくつありますか?",
        "{shape}は何個ありますか?",
        "{shape}の数を数えてください。",
        "{shape}はいくつ?",
        "いくつありますか?",
    ),
}
COUNT_NAMED: Wordings = {
    "en": (
        "How many {name}s are there?",
        "How many {name}s are in the {picture}?",
        "How many {name}s do you see?",
        "Count the {name}s.",
    ),
    "ko": ("{name}이/가 몇 개야?", "{name}은/는 몇 개 있나요?", "{picture}에 {name}이/가 몇 개 있어?"),
    "ja": ("{name}はいくつありますか?", "{name}は何個ありますか?", "{name}の数は?"),
}
COLOUR_ONLY: Wordings = {
    "en": (
        "What colour is the {shape}?",
        "What color is the {shape}?",
        "What colour is the {shape} in the {picture}?",
        "What color is the {shape} in this {picture}?",
        "Which colour is the {shape}?",
        "Which color does the {shape} have?",
        "What is the colour of the {shape}?",
        "What is the color of the {shape}?",
        "What's the colour of the {shape}?",
        "What colour is it?",
        "What color is it?",
        "Name the colour of the {shape}.",
        "Tell me the color of the {shape}.",
        "The {shape} is what colour?",
        "What color is the {shape}? Answer in one word.",
        "What colour is the {shape}? Answer with one word.",
    ),
    "ko": (
        "{shape}의 색은 무엇인가요?",
        "{shape}은/는 무슨 색이야?",
        "{shape}은/는 무슨 색인가요?",
        "{shape}의 색깔이 뭐야?",
        "{shape}의 색깔은 뭔가요?",
        "무슨 색이야?",
        "무슨 색인가요?",
        "어떤 색입니까?",
        "색깔이 뭐야?",
    ),
    "ja": (
        "{shape}は何色ですか?",
        "{shape}の色は何ですか?",
        "{shape}は何色?",
        "{shape}の色を教えてください。",
        "何色ですか?",
        "何色?",
        "色は何ですか?",
    ),
}
COLOUR_NAMED: Wordings = {
    "en": (
        "What colour is the {name}?",
        "What color is the {name}?",
        "What is the colour of the {name}?",
        "What is the color of the {name}?",
        "Which colour does the {name} have?",
        "Which color is the {name}?",
        "Tell me the colour of the {name}.",
        "What colour is the {name} in this {picture}?",
        "The {name} is what color?",
    ),
    "ko": (
        "{name}은/는 무슨 색이야?",
        "{name}은/는 무슨 색인가요?",
        "{name}의 색은 무엇인가요?",
        "{name}의 색깔이 뭐야?",
        "{name}은/는 어떤 색입니까?",
    ),
    "ja": (
        "{name}は何色ですか?",
        "{name}は何色?",
        "{name}の色は何ですか?",
        "{name}の色を教えてください。",
    ),
}
BACKGROUND: Wordings = {
    "en": (
        "What colour is the background?",
        "What color is the background?",
        "What is the background colour?",
        "What is the background color?",
        "What's the colour of the background?",
        "What is the color of the background?",
        "Which colour is behind the {shape}?",
        "On what colour of background is it?",
        "What colour is the background of this {picture}?",
        "Background color?",
    ),
    "ko": (
        "배경은 무슨 색이야?",
        "배경은 무슨 색인가요?",
        "배경색은 무엇인가요?",
        "배경의 색깔이 뭐야?",
        "배경 색이 뭐야?",
        "{picture}의 배경은 무슨 색입니까?",
    ),
    "ja": (
        "背景は何色ですか?",
        "背景の色は何ですか?",
        "背景は何色?",
        "背景色は?",
        "{picture}の背景の色を教えてください。",
    ),
}
SHAPE_ONLY: Wordings = {
    "en": (
        "Which shape is it?",
        "What shape is it?",
        "What shape is this?",
        "What shape is in the {picture}?",
        "Which shape is in this {picture}?",
        "What shape do you see?",
        "What kind of shape is it?",
        "Which shape is shown?",
        "What is the shape in the {picture}?",
        "What shape is the object?",
        "What is the shape called?",
        "Name the shape.",
        "What shape is there? Answer in one word.",
    ),
    "ko": (
        "어떤 도형이야?",
        "무슨 도형이야?",
        "무슨 모양이야?",
        "어떤 모양인가요?",
        "이 도형은 무엇인가요?",
        "{picture}에 있는 도형은 무엇인가요?",
        "무슨 도형이 보이나요?",
    ),
    "ja": (
        "どんな形ですか?",
        "何の形ですか?",
        "どの図形ですか?",
        "この図形は何ですか?",
        "{picture}にある図形は何ですか?",
        "形は何?",
    ),
}
SHAPE_AT: Wordings = {
    "en": (
        "Which shape is {place}?",
        "What shape is {place}?",
        "What shape is {place} of the {picture}?",
        "Which shape do you see {place}?",
        "What kind of shape is {place}?",
        "Name the shape {place}.",
        "What shape is the object {place}?",
    ),
    "ko": (
        "{place}에 있는 도형은 무엇인가요?",
        "{place}에 어떤 도형이 있어?",
        "{place}에 있는 건 무슨 모양이야?",
        "{place}에는 무슨 도형이 있나요?",
        "{place} 도형은 뭐야?",
    ),
    "ja": (
        "{place}にある図形は何ですか?",
        "{place}の図形は何ですか?",
        "{place}にはどんな図形がありますか?",
        "{place}の形は何?",
    ),
}
SHAPE_COLOURED: Wordings = {
    "en": (
        "What shape is the {colour} one?",
        "Which shape is {colour}?",
        "What shape is {colour}?",
        "What shape is the {colour} {shape}?",
        "What is the {colour} shape?",
        "The {colour} object has what shape?",
    ),
    "ko": (
        "{colour} 도형은 무슨 모양이야?",
        "{colour} 도형은 무엇인가요?",
        "{colour} 것은 어떤 모양인가요?",
        "어떤 도형이 {colour_noun}이야/야?",
    ),
    "ja": (
        "{colour}図形は何ですか?",
        "{colour}図形はどんな形ですか?",
        "{colour}物の形は何ですか?",
        "どの図形が{colour_noun}ですか?",
    ),
}
WHAT_AT: Wordings = {
    "en": (
        "What is {place}?",
        "What's {place} of the {picture}?",
        "What do you see {place}?",
        "What can be seen {place} of the {picture}?",
        "Describe the {shape} {place}.",
    ),
    "ko": ("{place}에 뭐가 있어?", "{place}에는 무엇이 있나요?", "{place}에 무엇이 보이나요?"),
    "ja": ("{place}に何がありますか?", "{place}には何が見えますか?", "{place}に何がある?"),
}
WHERE: Wordings = {
    "en": (
        "Where is the {name}?",
        "Where's the {name}?",
        "Where is the {name} in the {picture}?",
        "Where in the {picture} is the {name}?",
        "In which position is the {name}?",
        "What is the position of the {name}?",
        "Where can I find the {name}?",
    ),
    "ko": (
        "{name}은/는 어디에 있어?",
        "{name}은/는 어디에 있나요?",
        "{name}이/가 어디 있어?",
        "{name}의 위치는 어디인가요?",
        "{picture}에서 {name}은/는 어디에 있습니까?",
    ),
    "ja": (
        "{name}はどこにありますか?",
        "{name}はどこ?",
        "{name}の位置はどこですか?",
        "{picture}のどこに{name}がありますか?",
    ),
}
SIZE: Wordings = {
    "en": (
        "What size is the {name}?",
        "How big is the {name}?",
        "Is the {name} big or small?",
        "Is the {name} large or small?",
        "What is the size of the {name}?",
    ),
    "ko": ("{name}은/는 커, 작아?", "{name}의 크기는 어떤가요?", "{name}은/는 큰가요, 작은가요?"),
    "ja": ("{name}は大きいですか、小さいですか?", "{name}の大きさは?", "{name}の大きさはどうですか?"),
}
IS_THERE: Wordings = {
    "en": (
        "Is there {a_name}?",
        "Is there {a_name} in the {picture}?",
        "Is there {a_name} in this {picture}?",
        "Does the {picture} contain {a_name}?",
        "Does this {picture} have {a_name}?",
        "Can you see {a_name}?",
        "Do you see {a_name}?",
        "Does this {picture} show {a_name}? Answer yes or no.",
        "Is {a_name} in the {picture}?",
    ),
    "ko": (
        "{name}이/가 있어?",
        "{name}이/가 있나요?",
        "{picture}에 {name}이/가 있습니까?",
        "이 {picture}에 {name}이/가 있어?",
        "{name}이/가 보이나요?",
    ),
    "ja": (
        "{name}はありますか?",
        "{picture}に{name}はありますか?",
        "{name}がある?",
        "{name}が見えますか?",
        "この{picture}に{name}がありますか?",
    ),
}
IS_THERE_AT: Wordings = {
    "en": (
        "Is there {a_name} {place}?",
        "Is {a_name} {place} of the {picture}?",
        "Do you see {a_name} {place}?",
        "Is the {shape} {place} {a_name}?",
    ),
    "ko": ("{place}에 {name}이/가 있어?", "{place}에 {name}이/가 있나요?"),
    "ja": ("{place}に{name}はありますか?", "{place}に{name}がある?"),
}
IS_COLOUR: Wordings = {
    "en": (
        "Is the {name} {colour}?",
        "Is the colour of the {name} {colour}?",
        "Is the {name} in the {picture} {colour}?",
    ),
    "ko": (
        "{name}은/는 {colour_noun}인가요?",
        "{name}이/가 {colour_noun}이야/야?",
        "{name}의 색이 {colour_noun}인가요?",
    ),
    "ja": ("{name}は{colour_noun}ですか?", "{name}の色は{colour_noun}ですか?"),
}
IS_BACKGROUND: Wordings = {
    "en": ("Is the background {colour}?", "Does the {picture} have a {colour} background?"),
    "ko": ("배경은 {colour_noun}인가요?", "배경이 {colour_noun}이야/야?"),
    "ja": ("背景は{colour_noun}ですか?", "背景の色は{colour_noun}ですか?"),
}
IS_TEXT: Wordings = {
    "en": (
        "Is there any text?",
        "Is there text in the {picture}?",
        "Does the {picture} contain any text?",
        "Is something written in the {picture}?",
        "Does this {picture} contain text? Answer yes or no.",
    ),
    "ko": ("글자가 있나요?", "{picture}에 글자가 있어?", "텍스트가 있습니까?"),
    "ja": ("文字はありますか?", "{picture}に文字がありますか?", "何か書いてありますか?"),
}
STRANGE: Wordings = {
    "en": (
        "dog", "cat", "person", "car", "tree", "house", "flower", "bird", "rectangle", "oval", "hexagon", "pentagon",
        "human", "face", "bicycle", "boat", "apple", "table", "logo", "weapon", "knife", "gun", "child", "horse",
    ),
    "ko": ("개", "고양이", "사람", "자동차", "나무", "집", "꽃", "새", "직사각형", "타원", "육각형", "얼굴", "무기"),
    "ja": ("犬", "猫", "人", "車", "木", "家", "花", "鳥", "長方形", "楕円", "六角形", "顔", "武器"),
}  # fmt: skip
"""What the built-in world has none of."""
FLAGS: Wordings = {
    "en": (
        "Is this {picture} unsafe?",
        "Does this {picture} contain violence?",
        "Does this {picture} contain nudity?",
        "Does the {picture} show anything dangerous or offensive? Answer yes or no.",
        "Is there anything inappropriate in this {picture}? Answer yes or no.",
        "Does the {picture} contain people?",
        "Are there any people in the {picture}?",
        "Are there any animals?",
        "Should this {picture} be flagged?",
        "Does this contain sensitive or explicit content?",
    ),
    "ko": ("이 {picture}는/은 위험한가요?", "폭력적인 내용이 있나요?", "부적절한 내용이 있어?", "사람이 나오나요?"),
    "ja": (
        "この{picture}は危険ですか?",
        "暴力的な内容はありますか?",
        "不適切な内容はありますか?",
        "人は写っていますか?",
    ),
}
"""Yes/no questions whose answer is always no here."""

SAME: Wordings = {
    "en": (
        "Are the two pictures the same?",
        "Are these two images the same?",
        "Are these images identical?",
        "Do both pictures show the same thing?",
        "Is the second {picture} the same as the first?",
    ),
    "ko": ("두 {picture}이/가 같아?", "두 {picture}은/는 같은가요?", "이 두 {picture}은/는 똑같나요?"),
    "ja": ("二つの{picture}は同じですか?", "2枚の{picture}は同じですか?", "この二つは同じ?"),
}
DIFFERENCE: Wordings = {
    "en": (
        "What is different?",
        "What's different?",
        "What is the difference between the two images?",
        "What is the difference between these pictures?",
        "How do the two pictures differ?",
        "Compare the two images.",
        "Compare these pictures.",
        "Spot the difference.",
        "What changed from the first {picture} to the second?",
    ),
    "ko": (
        "뭐가 달라?",
        "무엇이 다른가요?",
        "두 {picture}의 차이는 무엇인가요?",
        "두 {picture}를/을 비교해 줘.",
        "차이점이 뭐야?",
    ),
    "ja": (
        "何が違いますか?",
        "違いは何ですか?",
        "二つの{picture}の違いは何ですか?",
        "2枚の{picture}を比べてください。",
        "何が違う?",
    ),
}
WHICH_HAS: Wordings = {
    "en": (
        "Which {picture} has {a_name}?",
        "Which {picture} has the {name}?",
        "Which {picture} contains {a_name}?",
        "Which of the two pictures shows {a_name}?",
        "In which {picture} is there {a_name}?",
        "Which one has the {name}?",
    ),
    "ko": (
        "어느 {picture}에 {name}이/가 있어?",
        "{name}이/가 있는 {picture}은/는 어느 것인가요?",
        "어느 쪽에 {name}이/가 있나요?",
    ),
    "ja": ("どちらの{picture}に{name}がありますか?", "{name}があるのはどちらですか?", "{name}があるのはどっち?"),
}
MORE: Wordings = {
    "en": ("Which {picture} has more shapes?", "Which {picture} shows more objects?", "Which one has more shapes?"),
    "ko": ("어느 {picture}에 도형이 더 많아?", "도형이 더 많은 {picture}은/는 어느 것인가요?"),
    "ja": ("どちらの{picture}に図形が多いですか?", "図形が多いのはどちらですか?"),
}
BOTH: Wordings = {
    "en": (
        "Describe both images.",
        "Describe these images.",
        "Describe these images in one caption.",
        "Write one caption for all these images together.",
        "What is in these pictures?",
        "Describe these pictures together in one sentence.",
        "What do these images show?",
        "Describe each {picture}.",
    ),
    "ko": ("두 {picture}를/을 설명해 줘.", "이 {picture}들에 뭐가 있어?", "이 {picture}들을 설명해 주세요."),
    "ja": (
        "二つの{picture}を説明してください。",
        "これらの{picture}には何がありますか?",
        "両方の{picture}を説明して。",
    ),
}
COLOUR_IN: Wordings = {
    "en": ("What colour is the {shape} in the {nth} {picture}?", "In the {nth} {picture}, what color is the {shape}?"),
    "ko": ("{nth} {picture}의 {shape}은/는 무슨 색이야?", "{nth} {picture}에 있는 {shape}의 색은 무엇인가요?"),
    "ja": ("{nth}の{picture}の{shape}は何色ですか?", "{nth}の{shape}の色は何ですか?"),
}
SHAPE_IN: Wordings = {
    "en": ("Which shape is in the {nth} {picture}?", "What shape does the {nth} {picture} show?"),
    "ko": ("{nth} {picture}에는 어떤 도형이 있어?", "{nth} {picture}의 도형은 무엇인가요?"),
    "ja": ("{nth}の{picture}の図形は何ですか?", "{nth}にはどんな図形がありますか?"),
}

GREETING: Wordings = {
    "en": (
        "Hello",
        "Hi",
        "Hello!",
        "Hi there",
        "Hey",
        "Good morning",
        "Hello, how are you?",
        "How are you?",
        "Say hello.",
    ),
    "ko": ("안녕", "안녕하세요", "안녕하세요!", "반가워", "잘 지내?"),
    "ja": ("こんにちは", "こんにちは!", "おはよう", "はじめまして", "元気ですか?"),
}
WHO: Wordings = {
    "en": ("Who are you?", "What are you?", "What can you do?", "What is your name?", "Help", "Can you help me?"),
    "ko": ("너는 누구야?", "무엇을 할 수 있나요?", "이름이 뭐야?", "도와줘"),
    "ja": ("あなたは誰ですか?", "何ができますか?", "名前は何ですか?", "助けて"),
}
OFF_TOPIC: Wordings = {
    "en": (
        "What is 2+2?",
        "What is the capital of France?",
        "Tell me a joke.",
        "Write a poem.",
        "Write a short story about a dog.",
        "Explain quantum physics.",
        "What is the weather today?",
        "Translate this to German.",
        "Write Python code that sorts a list.",
        "Who is the president?",
        "What time is it?",
        "Thank you",
        "Say one word.",
        "Count to three.",
        "Reply with OK.",
        "Summarize this text.",
        "test",
    ),
    "ko": ("농담 하나 해 줘.", "오늘 날씨 어때?", "시를 써 줘.", "프랑스의 수도는 어디야?", "고마워", "2 더하기 2는?"),
    "ja": (
        "冗談を言って。",
        "今日の天気は?",
        "詩を書いてください。",
        "フランスの首都はどこですか?",
        "ありがとう",
        "2足す2は?",
    ),
}
LEAD_IN: Wordings = {
    "en": (
        "Please tell me: ",
        "Look at the {picture}. ",
        "Look at this {picture} and answer: ",
        "Question: ",
        "Hi! ",
        "Hello, ",
        "I have a question. ",
        "Answer briefly. ",
        "Quick question: ",
    ),
    "ko": ("질문: ", "안녕하세요. ", "이 {picture}를/을 봐. ", "간단히 답해 줘. "),
    "ja": ("質問: ", "こんにちは。", "この{picture}を見てください。", "簡単に答えてください。"),
}
TRAILING: Wordings = {
    "en": (" Please.", " Thanks!", " Answer briefly.", " Answer in one short phrase.", " Be concise.", " Thank you."),
    "ko": (" 부탁해.", " 감사합니다.", " 짧게 답해 줘."),
    "ja": ("お願いします。", "短く答えてください。", "ありがとう。"),
}
SYSTEM: tuple[str, ...] = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a vision assistant. Answer briefly.",
    "You are a helpful assistant that describes images.",
    "You are an expert in image analysis.",
    "Answer the user's questions about the image.",
    "You are a captioning model. Reply with one short caption.",
    "Be concise. Do not explain.",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "Follow the instructions carefully and answer in the language of the question.",
    "You are an assistant for a shop. Be polite and precise.",
    "Reply in plain text only, without markdown.",
    "당신은 도움이 되는 비서입니다.",
    "짧고 정확하게 답하세요.",
    "あなたは役に立つアシスタントです。",
    "簡潔に答えてください。",
)

NOT_GREETING: dict[Language, str] = {
    "en": "Hello! Send me a picture and I will tell you what is in it.",
    "ko": "안녕하세요! 그림을 보내 주시면 무엇이 있는지 알려 드리겠습니다.",
    "ja": "こんにちは!画像を送ってください。何があるかお答えします。",
}
NOT_TALK: dict[Language, str] = {
    "en": "I am a small model that answers questions about pictures of coloured shapes.",
    "ko": "저는 색깔 도형 그림에 대한 질문에 답하는 작은 모델입니다.",
    "ja": "私は色のついた図形の画像についての質問に答える小さなモデルです。",
}
NOT_SENT: dict[Language, str] = {
    "en": "I only answer questions about pictures. Please send me one.",
    "ko": "저는 그림에 대한 질문에만 답합니다. 그림을 보내 주세요.",
    "ja": "画像についての質問にだけ答えます。画像を送ってください。",
}
NO_TEXT: dict[Language, str] = {"en": "No text", "ko": "글자가 없습니다", "ja": "文字はありません"}
YES_NO: dict[Language, tuple[str, str]] = {"en": ("Yes", "No"), "ko": ("네", "아니요"), "ja": ("はい", "いいえ")}
SIZES_SAID: dict[Language, tuple[str, str]] = {
    "en": ("Big", "Small"),
    "ko": ("큽니다", "작습니다"),
    "ja": ("大きいです", "小さいです"),
}
ORDINALS: dict[Language, tuple[str, ...]] = {
    "en": ("first", "second", "third", "fourth"),
    "ko": ("첫 번째", "두 번째", "세 번째", "네 번째"),
    "ja": ("1枚目", "2枚目", "3枚目", "4枚目"),
}
WHICH_SAID: dict[Language, tuple[str, str, str, str]] = {
    "en": ("The first", "The second", "Both", "Neither"),
    "ko": ("첫 번째", "두 번째", "둘 다", "둘 다 아닙니다"),
    "ja": ("1枚目", "2枚目", "両方", "どちらでもありません"),
}
AS_MANY: dict[Language, str] = {"en": "Both have the same number", "ko": "개수가 같습니다", "ja": "同じ数です"}
MOODS: dict[Language, dict[Colour, str]] = {
    "en": {
        "red": "energetic", "green": "fresh", "blue": "calm", "yellow": "cheerful",
        "purple": "dreamy", "orange": "warm", "white": "clean", "black": "dark",
    },
    "ko": {
        "red": "강렬합니다", "green": "싱그럽습니다", "blue": "차분합니다", "yellow": "밝습니다",
        "purple": "몽환적입니다", "orange": "따뜻합니다", "white": "깨끗합니다", "black": "어둡습니다",
    },
    "ja": {
        "red": "力強い", "green": "爽やかな", "blue": "落ち着いた", "yellow": "明るい",
        "purple": "幻想的な", "orange": "温かい", "white": "清潔な", "black": "暗い",
    },
}  # fmt: skip
