-- The request that wrk sends: SCOREGATE_BODY bytes to the path of the URL, a GET where that is 0.
local size = tonumber(os.getenv("SCOREGATE_BODY"))
wrk.headers["authorization"] = "Bearer " .. os.getenv("SCOREGATE_CALLER_KEY")
if size > 0 then
  local piece = '{"data": [[5.1, 3.5, 1.4, 0.2]]}'
  wrk.method = "POST"
  wrk.headers["content-type"] = "application/json"
  wrk.body = piece:rep(math.ceil(size / #piece)):sub(1, size)
end
