#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# DevStack plugin: sriov-agent, and sriov-device-manager where that service is enabled. ml2 is the
# source in the place of q-sriov-agt.

# The devices of the PFs, one a line: network interfaces or PCI addresses.
function _sriov_agent_pfs {
    local mapping
    for mapping in ${SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS//,/ }; do
        echo "${mapping#*:}"
    done
}

# The PCI device in sysfs of a PF.
function _sriov_agent_device {
    if [[ -e "/sys/bus/pci/devices/$1" ]]; then
        echo "/sys/bus/pci/devices/$1"
    else
        echo "/sys/class/net/$1/device"
    fi
}

# The network interface of a PF; in switchdev mode its VFs' representors come after it.
function _sriov_agent_netdev {
    if [[ -e "/sys/class/net/$1" ]]; then
        echo "$1"
    else
        ls "/sys/bus/pci/devices/$1/net" | head -n 1
    fi
}

function _sriov_agent_config_files {
    if [[ "$SRIOV_AGENT_SOURCE" == "ml2" ]]; then
        echo -n "--config-file $NEUTRON_CONF "
    fi
    echo "--config-file $SRIOV_AGENT_CONF_FILE"
}

# What is known before anything is installed: a stack that cannot work ends in its first minute.
function check_sriov_agent {
    local pf
    if [[ -z "$SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS" ]]; then
        die $LINENO "SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS is empty: sriov-agent has no PF." \
            "Without a NIC that has SR-IOV, set SRIOV_AGENT_LAB=True"
    fi
    if is_service_enabled q-sriov-agt neutron-sriov-agent; then
        die $LINENO "sriov-agent takes the place of q-sriov-agt: disable_service q-sriov-agt"
    fi
    case "$SRIOV_AGENT_SOURCE" in
        ml2 | notifications | local) ;;
        *)
            die $LINENO "SRIOV_AGENT_SOURCE is $SRIOV_AGENT_SOURCE;" \
                "it has to be ml2, notifications or local"
            ;;
    esac
    if [[ "$SRIOV_AGENT_LAB" == "True" ]]; then
        if [[ "$SRIOV_AGENT_SOURCE" == "local" ]] || ! is_service_enabled rabbit; then
            die $LINENO "SRIOV_AGENT_LAB needs Neutron's RabbitMQ on this host: enable_service rabbit"
        fi
        return
    fi
    for pf in $(_sriov_agent_pfs); do
        if [[ -e "$(_sriov_agent_device "$pf")/sriov_numvfs" ]]; then
            continue
        elif [[ -n "$SRIOV_AGENT_NUM_VFS" ]]; then
            die $LINENO "$pf of SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS is no PF of this host." \
                "Without a NIC that has SR-IOV, set SRIOV_AGENT_LAB=True"
        fi
        warn $LINENO "$pf of SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS is no PF of this host, not yet"
    done
}

function install_sriov_agent {
    local extras=$SRIOV_AGENT_EXTRAS
    if [[ "$SRIOV_AGENT_SOURCE" == "notifications" ]]; then
        extras+=,openstack
    fi
    if [[ "$SRIOV_AGENT_HOOK" == "contrail" ]]; then
        extras+=,contrail
    fi
    if is_service_enabled sriov-device-manager; then
        extras+=,fabric
    fi
    install_package lldpd
    setup_develop "$SRIOV_AGENT_DIR" "${extras#,}"
    if [[ "$SRIOV_AGENT_LAB" == "True" ]]; then
        pip_install -r "$SRIOV_AGENT_DIR/tools/lab/requirements.txt"
        sudo env "XDG_CACHE_HOME=$SRIOV_AGENT_LAB_CACHE" \
            "$(get_python_exec_prefix)/python3" "$SRIOV_AGENT_DIR/tools/lab" setup
    fi
}

# Networks of the PFs' physical networks can be made, with any VLAN where ML2_VLAN_RANGES has none.
function _configure_sriov_agent_ml2 {
    local conf=/$Q_PLUGIN_CONF_FILE
    local mapping network ranges
    for mapping in ${SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS//,/ }; do
        network=${mapping%%:*}
        ranges=$(iniget "$conf" ml2_type_vlan network_vlan_ranges)
        if [[ ! ",$ranges," =~ ,$network[:,] ]]; then
            iniset "$conf" ml2_type_vlan network_vlan_ranges "${ranges:+$ranges,}$network"
        fi
    done
}

# nova gives out the VFs of the PFs. nova-cpu.conf is made of nova.conf when n-cpu starts.
function _configure_sriov_agent_nova {
    local mapping device specs=""
    for mapping in ${SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS//,/ }; do
        device=${mapping#*:}
        if [[ "$device" == *:* ]]; then
            device="\"address\":\"$device\""
        else
            device="\"devname\":\"$device\""
        fi
        specs+=" {$device,\"physical_network\":\"${mapping%%:*}\"}"
    done
    iniset_multiline "$NOVA_CONF" pci device_spec $specs
}

function _configure_sriov_agent_source {
    iniset "$SRIOV_AGENT_CONF_FILE" agent source "$SRIOV_AGENT_SOURCE"
    case "$SRIOV_AGENT_SOURCE" in
        ml2)
            # The agent reads neutron.conf itself.
            if is_service_enabled q-svc neutron-api; then
                _configure_sriov_agent_ml2
            fi
            ;;
        notifications)
            iniset_rpc_backend sriov-agent "$SRIOV_AGENT_CONF_FILE"
            # Neutron lists all ports of a host for an administrator only.
            configure_keystoneauth "$SRIOV_AGENT_CONF_FILE" admin neutron
            iniset "$SRIOV_AGENT_CONF_FILE" neutron password "$ADMIN_PASSWORD"
            iniset "$SRIOV_AGENT_CONF_FILE" neutron project_name admin
            if is_service_enabled q-svc neutron-api; then
                iniset "$NEUTRON_CONF" oslo_messaging_notifications driver messagingv2
            fi
            ;;
    esac
}

function configure_sriov_agent {
    sudo install -d -o "$STACK_USER" "$SRIOV_AGENT_CONF_DIR" "$SRIOV_AGENT_STATE_PATH"
    rm -f "$SRIOV_AGENT_CONF_FILE"
    if [[ -n "$SRIOV_AGENT_HOST" ]]; then
        iniset "$SRIOV_AGENT_CONF_FILE" DEFAULT host "$SRIOV_AGENT_HOST"
    fi
    iniset "$SRIOV_AGENT_CONF_FILE" DEFAULT debug "$ENABLE_DEBUG_LOG_LEVEL"
    _configure_sriov_agent_source
    iniset "$SRIOV_AGENT_CONF_FILE" agent state_path "$SRIOV_AGENT_STATE_PATH"
    iniset "$SRIOV_AGENT_CONF_FILE" sriov_nic physical_device_mappings \
        "$SRIOV_AGENT_PHYSICAL_DEVICE_MAPPINGS"
    iniset "$SRIOV_AGENT_CONF_FILE" fabric hook "$SRIOV_AGENT_HOOK"
    if [[ -n "$SRIOV_AGENT_HOOK_COMMAND" ]]; then
        iniset "$SRIOV_AGENT_CONF_FILE" hook_exec command "$SRIOV_AGENT_HOOK_COMMAND"
    fi
    if [[ "$SRIOV_AGENT_HOOK" == "rpc" ]]; then
        iniset_rpc_backend sriov-agent "$SRIOV_AGENT_CONF_FILE" hook_rpc
    fi
    if [[ "$SRIOV_AGENT_LAB" == "True" ]]; then
        _configure_sriov_agent_lab
    else
        _make_sriov_agent_vfs
        if is_service_enabled n-cpu; then
            _configure_sriov_agent_nova
        fi
    fi
    if is_service_enabled sriov-device-manager; then
        configure_sriov_device_manager
    fi
}

# In the guest this host's loopback is 10.0.2.2, and only what is in memory can be written with WAL.
function _configure_sriov_agent_lab {
    local section url
    iniset "$SRIOV_AGENT_CONF_FILE" agent state_path /run/sriov-agent
    url=$(get_transport_url)
    for section in DEFAULT hook_rpc; do
        if [[ "$section" == "DEFAULT" || "$SRIOV_AGENT_HOOK" == "rpc" ]]; then
            iniset "$SRIOV_AGENT_CONF_FILE" "$section" transport_url \
                "${url/@$RABBIT_HOST:/@10.0.2.2:}"
        fi
    done
}

# The state from before is recorded: it is what clean.sh restores.
function _make_sriov_agent_vfs {
    local pf device netdev count flags record=$SRIOV_AGENT_STATE_PATH/pfs
    for pf in $(_sriov_agent_pfs); do
        device=$(_sriov_agent_device "$pf")
        if [[ ! -e "$device/sriov_numvfs" ]]; then
            continue
        fi
        count=$(<"$device/sriov_numvfs")
        netdev=$(_sriov_agent_netdev "$pf")
        flags=$(<"/sys/class/net/$netdev/flags")
        if ! grep -qs "^$pf " "$record"; then
            echo "$pf $count $((flags & 1))" | sudo tee -a "$record" >/dev/null
        fi
        if [[ -n "$SRIOV_AGENT_NUM_VFS" && "$count" != "$SRIOV_AGENT_NUM_VFS" ]]; then
            _set_sriov_agent_vfs "$device" "$SRIOV_AGENT_NUM_VFS"
        fi
        sudo ip link set dev "$netdev" up
    done
}

# The kernel takes a new number of VFs only where there are none.
function _set_sriov_agent_vfs {
    local number
    for number in 0 "$2"; do
        echo "$number" | sudo tee "$1/sriov_numvfs" >/dev/null
    done
}

function configure_sriov_device_manager {
    sudo install -d -m 0700 -o "$STACK_USER" "$SRIOV_DEVICE_MANAGER_STATE_PATH"
    rm -f "$SRIOV_DEVICE_MANAGER_CONF_FILE"
    iniset "$SRIOV_DEVICE_MANAGER_CONF_FILE" DEFAULT debug "$ENABLE_DEBUG_LOG_LEVEL"
    iniset "$SRIOV_DEVICE_MANAGER_CONF_FILE" device_manager state_path \
        "$SRIOV_DEVICE_MANAGER_STATE_PATH"
    iniset_rpc_backend sriov-device-manager "$SRIOV_DEVICE_MANAGER_CONF_FILE"
}

function start_sriov_agent {
    local bin_dir command
    bin_dir=$(get_python_exec_prefix)
    if [[ "$SRIOV_AGENT_SOURCE" == "ml2" ]] && is_service_enabled q-svc neutron-api; then
        if [[ "$(iniget "$NEUTRON_CONF" DEFAULT rpc_workers)" == "0" ]]; then
            die $LINENO "rpc_workers is 0 in $NEUTRON_CONF: nobody would hear sriov-agent. Set it to 1"
        fi
    fi
    if is_service_enabled sriov-device-manager; then
        _run_sriov_process sriov-device-manager \
            "$bin_dir/sriov-device-manager --config-file $SRIOV_DEVICE_MANAGER_CONF_FILE" \
            "$STACK_USER" "$SRIOV_DEVICE_MANAGER_STATE_PATH/manager.sock"
    fi
    command="$bin_dir/sriov-agent $(_sriov_agent_config_files)"
    if [[ "$SRIOV_AGENT_LAB" == "True" ]]; then
        # 23 days, the most that it takes.
        run_process sriov-agent \
            "$bin_dir/python3 $SRIOV_AGENT_DIR/tools/lab run --user-net --timeout 2000000 -- $command" \
            "" root "XDG_CACHE_HOME=$SRIOV_AGENT_LAB_CACHE"
    else
        _run_sriov_process sriov-agent "$command" root "$SRIOV_AGENT_STATE_PATH/agent.sock"
    fi
}

# _run_sriov_process SERVICE COMMAND USER SOCKET: it listens once it has taken its configuration.
function _run_sriov_process {
    if ! $SYSTEMCTL is-active -q "devstack@$1"; then
        sudo rm -f "$4"
    fi
    run_process "$1" "$2" "" "$3"
    test_with_retry "{ $SYSTEMCTL is-failed -q devstack@$1 || sudo test -S $4; }" \
        "$1 does not answer: journalctl -u devstack@$1" 300
    if ! $SYSTEMCTL is-active -q "devstack@$1"; then
        die $LINENO "$1 does not run: journalctl -u devstack@$1"
    fi
}

function stop_sriov_agent {
    stop_process sriov-agent
    stop_process sriov-device-manager
}

function cleanup_sriov_agent {
    local pf count up device
    if [[ -e "$SRIOV_AGENT_STATE_PATH/pfs" ]]; then
        while read -r pf count up; do
            device=$(_sriov_agent_device "$pf")
            if [[ ! -e "$device/sriov_numvfs" ]]; then
                continue
            elif [[ "$(<"$device/sriov_numvfs")" != "$count" ]]; then
                _set_sriov_agent_vfs "$device" "$count"
            fi
            if [[ "$up" == 0 ]]; then
                sudo ip link set dev "$(_sriov_agent_netdev "$pf")" down
            fi
        done <"$SRIOV_AGENT_STATE_PATH/pfs"
    fi
    sudo rm -rf "$SRIOV_AGENT_CONF_DIR" "$SRIOV_AGENT_STATE_PATH" \
        "$SRIOV_DEVICE_MANAGER_STATE_PATH"
    if [[ "$SRIOV_AGENT_LAB" == "True" ]]; then
        sudo rm -rf "$SRIOV_AGENT_DIR/build"
    fi
}

if is_service_enabled sriov-agent; then
    case "$1 ${2:-}" in
        "stack pre-install") check_sriov_agent ;;
        "stack install") install_sriov_agent ;;
        "stack post-config") configure_sriov_agent ;;
        "stack extra") start_sriov_agent ;;
        "unstack ") stop_sriov_agent ;;
        "clean ") cleanup_sriov_agent ;;
    esac
fi
