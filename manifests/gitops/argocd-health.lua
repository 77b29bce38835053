-- SPDX-License-Identifier: Apache-2.0
-- The health of a DBUpgrade for Argo CD. Its status follows kstatus: Reconciling and Stalled are
-- there while they are true. docs/gitops.md has what comes out in each situation.

local status = obj.status or {}
local health = { status = "Progressing", message = status.message or "Waiting for the operator" }

if status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see the new spec"
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is_true(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

-- A retry changes no generation: until the operator has seen it, the status is the last run's.
local retry = (obj.metadata.annotations or {})["dbupgrade.subbug.learning/retry"]
local ended = is_true("Ready") or (conditions.Ready ~= nil and conditions.Ready.reason == "JobFailed")
if ended and retry ~= nil and retry ~= status.lastHandledRetry then
  health.message = "Waiting for the operator to see the retry annotation"
  return health
end

if is_true("Ready") then
  health.status = "Healthy"
elseif is_true("Stalled") then
  health.status = "Degraded"
elseif is_true("Blocked") and not is_true("Reconciling") then
  health.status = "Suspended"
end
return health
