#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# DevStack plugin: sriov-agent on Neutron's notifications, in the place of q-sriov-agt.

function _sriov_agent_pfs {
    local mapping
    for mapping in ${SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS//,/ }; do
        echo "${mapping#*:}"
    done
}

function install_sriov_agent {
    install_package lldpd
    setup_develop "$SRIOV_AGENT_DIR"
}

function configure_sriov_agent {
    if [[ -z "$SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS" ]]; then
        die $LINENO "SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS is empty: sriov-agent has no PF"
    fi
    if is_service_enabled q-sriov-agt neutron-sriov-agent; then
        die $LINENO "sriov-agent takes the place of q-sriov-agt: disable_service q-sriov-agt"
    fi
    sudo install -d -o "$STACK_USER" "$SRIOV_AGENT_CONF_DIR" "$SRIOV_AGENT_STATE_PATH"
    iniset "$SRIOV_AGENT_CONF" DEFAULT host "$(hostname)"
    iniset "$SRIOV_AGENT_CONF" DEFAULT debug "$ENABLE_DEBUG_LOG_LEVEL"
    iniset "$SRIOV_AGENT_CONF" agent state_path "$SRIOV_AGENT_STATE_PATH"
    iniset_rpc_backend sriov-agent "$SRIOV_AGENT_CONF"
    iniset "$SRIOV_AGENT_CONF" agent source notifications
    iniset "$SRIOV_AGENT_CONF" sriov_nic physical_device_mappings \
        "$SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS"
    iniset "$SRIOV_AGENT_CONF" fabric hook "$SRIOV_AGENT_HOOK"
    if [[ -n "$SRIOV_AGENT_HOOK_COMMAND" ]]; then
        iniset "$SRIOV_AGENT_CONF" hook_exec command "$SRIOV_AGENT_HOOK_COMMAND"
    fi
    if is_service_enabled q-svc neutron-api; then
        iniset "$NEUTRON_CONF" oslo_messaging_notifications driver messagingv2
    fi
}

function init_sriov_agent {
    local pf count
    for pf in $(_sriov_agent_pfs); do
        sudo ip link set dev "$pf" up
        if [[ -n "$SRIOV_AGENT_NUM_VFS" ]]; then
            count=$(<"/sys/class/net/$pf/device/sriov_numvfs")
            if [[ "$count" != "$SRIOV_AGENT_NUM_VFS" ]]; then
                # The kernel takes a new number of VFs only where there are none.
                echo 0 | sudo tee "/sys/class/net/$pf/device/sriov_numvfs" >/dev/null
                echo "$SRIOV_AGENT_NUM_VFS" \
                    | sudo tee "/sys/class/net/$pf/device/sriov_numvfs" >/dev/null
            fi
        fi
    done
}

function start_sriov_agent {
    local bin_dir
    bin_dir=$(get_python_exec_prefix)
    run_process sriov-agent \
        "$bin_dir/sriov-agent --config-file $SRIOV_AGENT_CONF" "" root
}

function stop_sriov_agent {
    stop_process sriov-agent
}

function cleanup_sriov_agent {
    sudo rm -rf "$SRIOV_AGENT_CONF_DIR" "$SRIOV_AGENT_STATE_PATH"
}

if is_service_enabled sriov-agent; then
    case "$1 ${2:-}" in
        "stack install") install_sriov_agent ;;
        "stack post-config") configure_sriov_agent ;;
        "stack extra")
            init_sriov_agent
            start_sriov_agent
            ;;
        "unstack ") stop_sriov_agent ;;
        "clean ") cleanup_sriov_agent ;;
    esac
fi
