-- Text cells without their box, so that chapters and sections nest in the contents.
function Div(box)
  if box.classes:includes("markdown") then return box.content end
end
