-- Text cells lose their box, so that chapters and sections nest in the contents. The id
-- of a heading starts with the number of its chapter and is unique in the page: many
-- chapters have a section "Findings". Links in a chapter follow their headings.
local schemes = { http = true, https = true, mailto = true }
local used = {}
local renamed = {}  -- For each chapter, the new id of each id in it.

local function rename(chapter, header)
  if header.identifier == "" then header.identifier = "section" end
  local id = chapter .. header.identifier
  local number = 1
  while used[id] do
    id = chapter .. header.identifier .. "-" .. number
    number = number + 1
  end
  used[id] = true
  renamed[chapter] = renamed[chapter] or {}
  renamed[chapter][header.identifier] = renamed[chapter][header.identifier] or id
  header.identifier = id
  return header
end

local function follow(chapter, link)
  -- Only addresses of the Web and of files are links; a script would run in the page.
  local scheme = link.target:match("^%s*(%a[%w+.-]*):")
  if scheme and not schemes[scheme:lower()] then return link.content end
  local id = link.target:match("^#(.+)")
  local new = id and (renamed[chapter] or {})[id:lower()]
  if new then link.target = "#" .. new end
  return link
end

local function describe(image)
  -- A figure's alternative text is part of the metadata of its output.
  if image.attributes.alt then
    image.caption = pandoc.Inlines(image.attributes.alt)
    image.attributes.alt = nil
  end
  return image
end

function Pandoc(doc)
  -- The cells of the first and the last section have no number: "" is their chapter.
  local function chapter(box) return box.identifier:match("^%d%d%-") or "" end
  local function in_cells(kind, change)
    doc.blocks = doc.blocks:map(function(block)
      if block.t ~= "Div" then return block end
      return block:walk({ [kind] = function(e) return change(chapter(block), e) end })
    end)
  end
  in_cells("Header", rename)
  in_cells("Link", follow)
  doc = doc:walk({ Image = describe })
  local blocks = pandoc.Blocks({})
  for _, block in ipairs(doc.blocks) do
    local is_text = block.t == "Div" and block.classes:includes("markdown")
    blocks:extend(is_text and block.content or { block })
  end
  doc.blocks = blocks
  return doc
end
