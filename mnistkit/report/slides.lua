-- The cells of a chapter become slides, <section> elements in stacks: a stack for each
-- section of the chapter, and in it a slide for each figure, each table and about a
-- hundred words. The id of a cell starts with what it is: slide, subslide, fragment,
-- rest, a finding, which stays with its figure, or an answer, which follows its question
-- on a slide of its own.
local WORDS = 125
local BESIDE_A_FIGURE = 45  -- so many words may stand above a figure, and below it
local stacks, slide = pandoc.List({}), nil
local section = nil  -- its heading, which the later slides of a stack repeat
local question = nil  -- the last paragraph or list, which answers may belong to

local function words(block)
  local count = 0
  block:walk({
    Str = function() count = count + 1 end,
    Math = function(math) count = count + (math.mathtype == "DisplayMath" and 20 or 2) end,
    CodeBlock = function(code)
      local _, ends = code.text:gsub("\n", "\n")
      count = count + 8 * (ends + 1)
    end,
    RawBlock = function(raw)
      local _, rows = raw.text:gsub("<tr", "")
      count = count + 9 * rows
    end,
  })
  return count
end

-- A slide that has nothing but its heading goes on.
local function new_slide(is_stack)
  if slide and slide.words == 0 and not slide.has_figure then
    if not is_stack or #slide.blocks == 0 then return end
  end
  slide = { blocks = pandoc.Blocks({}), words = 0, has_figure = false, section = section }
  if is_stack or #stacks == 0 then stacks:insert(pandoc.List({})) end
  stacks[#stacks]:insert(slide)
end

-- A short paragraph that leads to the next block, such as "You will learn".
local function is_lead(block)
  return block and block.t == "Para" and words(block) <= 4
end

local function add(block, kind)
  local count = words(block)
  local limit = WORDS
  if slide.has_figure then limit = slide.words_above + BESIDE_A_FIGURE end
  if slide.words + count > limit then
    local last = slide.blocks[#slide.blocks]
    local lead = is_lead(last) and slide.blocks:remove() or nil
    new_slide(false)
    if lead then slide.blocks:insert(lead) end
  end
  if kind == "fragment" then block = pandoc.Div({ block }, { class = "fragment" }) end
  slide.blocks:insert(block)
  slide.words = slide.words + count
end

local function add_text(block, kind)
  if block.t == "Header" then
    new_slide(block.level <= 2)
    if block.level <= 2 then section = block.content end
    slide.blocks:insert(block)
    return
  end
  -- A figure ends its slide: the text behind it leads on to the next one.
  if slide.has_figure and kind ~= "finding" then new_slide(false) end
  add(block, kind)
  if kind ~= "answer" then question = block end
end

local function find(block, kind, test)
  local found
  block:walk({
    [kind] = function(element)
      if test(element) then found = element end
    end,
  })
  return found
end

local function any() return true end

local function add_figure(output, kind)
  if slide.has_figure or slide.words > BESIDE_A_FIGURE then new_slide(false) end
  local image = find(output, "Image", any)
  if image then
    image.attributes.width = nil
    output = pandoc.Div({ pandoc.Plain({ image }) }, { class = "figure" })
  end
  if kind == "fragment" then output.classes:insert("fragment") end
  slide.blocks:insert(output)
  slide.has_figure, slide.words_above = true, slide.words
end

local function folded(code)
  return pandoc.Div({
    pandoc.RawBlock("html", "<details><summary>code</summary>"),
    code,
    pandoc.RawBlock("html", "</details>"),
  }, { class = "code" })
end

local function add_code(cell, kind)
  for _, block in ipairs(cell.content) do
    if block.t == "Div" and block.classes:includes("output") then
      if find(block, "Image", any) then
        add_figure(block, kind)
      else
        add(block, kind)
      end
    end
  end
  for _, block in ipairs(cell.content) do
    if block.t == "CodeBlock" then slide.blocks:insert(folded(block)) end
  end
end

local function describe(image)
  if image.attributes.alt then
    image.caption = pandoc.Inlines(image.attributes.alt)
    image.attributes.alt = nil
  end
  return image
end

-- A deck has one chapter: a link to another one, or into it, would lead nowhere.
local function follow(link)
  if link.target:match("^https?:") then return link end
  return link.content
end

function Pandoc(doc)
  doc = doc:walk({ Image = describe, Link = follow })
  new_slide(true)
  for _, cell in ipairs(doc.blocks) do
    local kind = cell.identifier:match("^%a+")
    if kind == "slide" or kind == "subslide" then new_slide(kind == "slide") end
    if kind == "answer" then
      new_slide(false)
      local count = 0
      for _, block in ipairs(cell.content) do count = count + words(block) end
      if question and count + words(question) <= WORDS then add(question, kind) end
    end
    for _, block in ipairs(cell.classes:includes("markdown") and cell.content or {}) do
      if kind == "answer" and block.t == "Header" then
        slide.blocks:insert(block)
      else
        add_text(block, kind)
      end
    end
    if cell.classes:includes("code") then add_code(cell, kind) end
    if kind == "answer" then new_slide(false) end
  end
  local body = pandoc.Blocks({})
  local function raw(text) body:insert(pandoc.RawBlock("html", text)) end
  for _, stack in ipairs(stacks) do
    raw("<section>")
    for _, one in ipairs(stack) do
      if #one.blocks == 0 then goto next end
      raw("<section>")
      local first = one.blocks[1]
      if one.section and not (first.t == "Header" and first.level <= 2) then
        body:insert(pandoc.Div({ pandoc.Plain(one.section) }, { class = "running" }))
      end
      body:extend(one.blocks)
      raw("</section>")
      ::next::
    end
    raw("</section>")
  end
  doc.blocks = body
  return doc
end
