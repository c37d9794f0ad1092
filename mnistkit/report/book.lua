-- Chapters get the label that links lead to, such as ch03; sections lose theirs, because
-- many chapters have a section "Summary". A formula's source is its alternative text.
-- No level of headings is skipped, as PDF/UA demands.
local level = 0
local schemes = { http = true, https = true }

-- What most chapters have is in the bookmarks of the PDF, but not in the contents.
local recurring = {
  "^Predict first$", "^Summary$", "[Qq]uick questions$", "^Chapter %d%d$",
}

local function not_in_contents(header, numbered)
  local text = pandoc.write(pandoc.Pandoc({ pandoc.Plain(header.content) }), "typst")
  local call = "#heading(level: %d, %soutlined: false, bookmarked: true)[%s]"
  return pandoc.RawBlock("typst", call:format(header.level, numbered, text))
end

function Header(header)
  local text = pandoc.utils.stringify(header.content)
  local numbered = ""
  local number = header.level == 1 and text:match("^(%d%d) · ")
  header.level = math.min(header.level, level + 1)
  level = header.level
  header.identifier = ""
  if text:match("^Chapter %d%d$") then numbered = "numbering: none, " end
  for _, title in ipairs(recurring) do
    if text:match(title) then return not_in_contents(header, numbered) end
  end
  if not number then return header end
  header.identifier = "ch" .. number
  -- "03", " ", "·", " " are the first four elements.
  for _ = 1, 4 do header.content:remove(1) end
  local before = ("#counter(heading).update(%d)"):format(tonumber(number))
  return { pandoc.RawBlock("typst", before), header }
end

function Link(link)
  local number = link.target:match("^(%d%d)_[%w_]+%.ipynb")
  if number then
    link.target = "#ch" .. number
    return link
  end
  local scheme = link.target:match("^%s*(%a[%w+.-]*):")
  if scheme and schemes[scheme:lower()] then return link end
  return link.content
end

-- The notebooks' own pictures come with their cells; no text cell has one.
function Image() return {} end

-- No line ends between a number and its percent sign.
function Inlines(inlines)
  for i = 2, #inlines - 1 do
    local before, after = inlines[i - 1], inlines[i + 1]
    local is_gap = inlines[i].t == "Space" or inlines[i].t == "SoftBreak"
    if is_gap and before.t == "Str" and after.t == "Str"
      and before.text:match("%d$") and after.text:match("^%%") then
      inlines[i] = pandoc.Str("\u{a0}")
    end
  end
  return inlines
end

function Math(math)
  local formula = pandoc.write(pandoc.Pandoc({ pandoc.Plain({ math }) }), "typst")
  local source = math.text:gsub("%s+", " "):gsub("\\", "\\\\"):gsub('"', '\\"')
  local text = '#[#set math.equation(alt: "%s");%s]'
  return pandoc.RawInline("typst", text:format(source, formula:gsub("\n+$", "")))
end

-- A link to a chapter that was not executed, and so is not in the book, is its text.
function Pandoc(doc)
  local known = {}
  doc:walk({ Header = function(header) known[header.identifier] = true end })
  return doc:walk({
    Link = function(link)
      local id = link.target:match("^#(ch%d%d)$")
      if id and not known[id] then return link.content end
    end,
  })
end
