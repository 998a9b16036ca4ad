<#
.SYNOPSIS
Takes running deployments to what their file says now.
.DESCRIPTION
The same as `charter upgrade`, for PowerShell: -All takes everything that runs, one after the other; -WhatIf shows what would be done and
touches nothing. The exit status is charter's: 0 done, 1 failed, 2 (with -WhatIf) there is something to do.
.EXAMPLE
./Upgrade-CloudModels.ps1 -All -WhatIf
.EXAMPLE
./Upgrade-CloudModels.ps1 -Name reasoning, chat -Strategy side-by-side
#>
[CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Names')]
param(
    [Parameter(ParameterSetName = 'Names', Mandatory = $true, Position = 0)]
    [string[]] $Name,
    [Parameter(ParameterSetName = 'All', Mandatory = $true)]
    [switch] $All,
    [string] $Profile,
    [ValidateSet('auto', 'side-by-side', 'rolling', 'in-place', 'recreate')]
    [string] $Strategy,
    [string] $Waves,
    [switch] $KeepGoing,
    # The server, where it is not the local one; its key comes from CHARTER_KEY.
    [string] $Server
)

$arguments = @()
if ($Server) { $arguments += '--server', $Server }
$arguments += 'upgrade'
if ($All) { $arguments += '--all' } else { $arguments += $Name }
if ($Profile) { $arguments += '--profile', $Profile }
if ($Strategy) { $arguments += '--strategy', $Strategy }
if ($Waves) { $arguments += '--waves', $Waves }
if ($KeepGoing) { $arguments += '--keep-going' }
if ($WhatIfPreference) { $arguments += '--what-if' }

& charter @arguments
exit $LASTEXITCODE
