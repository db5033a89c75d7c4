//go:build !wasip1

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settingPrefixes begin the names of environment variables for flags. The variables of an
// earlier prefix count first. A deployment of etcd has variables of the last one.
var settingPrefixes = []string{"RAFTLAB_", "ETCD_"}

// applySettings gives the flags that are not on the command line their values from the
// environment, and then from a YAML file. A variable is a prefix and the flag's name in
// capitals, with underscores. A key of the file is the flag's name.
func applySettings(f *pflag.FlagSet, file string, environ []string) error {
	var all []error
	set := func(name, source string, values []string) {
		if f.Changed(name) {
			return
		}
		for _, v := range values {
			if err := f.Set(name, v); err != nil {
				all = append(all, fmt.Errorf("%s: %w", source, err))
			}
		}
	}
	for _, prefix := range settingPrefixes {
		for _, kv := range environ {
			key, value, _ := strings.Cut(kv, "=")
			name, ok := strings.CutPrefix(key, prefix)
			if name = strings.ToLower(strings.ReplaceAll(name, "_", "-")); ok && f.Lookup(name) != nil {
				set(name, key, []string{value})
			}
		}
	}
	if file == "" {
		return errors.Join(all...)
	}
	settings, err := readSettings(file)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if f.Lookup(s.name) == nil || s.name == "config" {
			all = append(all, fmt.Errorf("%s, line %d: there is no setting %q", file, s.line, s.name))
			continue
		}
		set(s.name, fmt.Sprintf("%s, line %d", file, s.line), s.values)
	}
	return errors.Join(all...)
}

// setting is an entry of a settings file. A setting without a value has the default value.
type setting struct {
	name   string
	line   int
	values []string
}

// securityFlags are the sections of etcd's settings file, with the flag of each key.
var securityFlags = map[string]map[string]string{
	"client-transport-security": {
		"cert-file": "cert-file", "key-file": "key-file", "trusted-ca-file": "trusted-ca-file", "crl-file": "client-crl-file", "auto-tls": "auto-tls",
		"client-cert-auth": "client-cert-auth", "client-cert-file": "client-cert-file", "client-key-file": "client-key-file",
		"allowed-hostname": "client-cert-allowed-hostname",
	},
	"peer-transport-security": {
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "trusted-ca-file": "peer-trusted-ca-file", "crl-file": "peer-crl-file", "auto-tls": "peer-auto-tls",
		"client-cert-auth": "peer-client-cert-auth", "client-cert-file": "peer-client-cert-file", "client-key-file": "peer-client-key-file",
		"allowed-cn": "peer-cert-allowed-cn", "allowed-hostname": "peer-cert-allowed-hostname", "skip-client-san-verification": "peer-skip-client-san-verification",
	},
}

// readSettings reads a YAML file with a mapping of names to scalars, to lists of scalars,
// or to mappings of scalars.
func readSettings(file string) ([]setting, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil // an empty file
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s, line %d: want a mapping of settings to values", file, root.Line)
	}
	var all []setting
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		some, err := readSetting(key, value)
		if err != nil {
			return nil, fmt.Errorf("%s, %w", file, err)
		}
		for _, s := range some {
			s.name = string(etcdName(nil, s.name))
			if slices.ContainsFunc(all, func(other setting) bool { return other.name == s.name }) {
				return nil, fmt.Errorf("%s, line %d: %s stands twice", file, s.line, s.name)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// readSetting reads an entry of a settings file: one setting, or a section of etcd's.
func readSetting(key, value *yaml.Node) ([]setting, error) {
	flags, isSection := securityFlags[key.Value]
	if !isSection {
		values, err := readValues(value)
		return []setting{{key.Value, key.Line, values}}, err
	}
	if value.Tag == nullTag {
		return nil, nil
	}
	if value.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: want a mapping of settings to values", value.Line)
	}
	var all []setting
	for i := 0; i < len(value.Content); i += 2 {
		inner := value.Content[i]
		name, ok := flags[inner.Value]
		if !ok {
			return nil, fmt.Errorf("line %d: there is no setting %q in %s", inner.Line, inner.Value, key.Value)
		}
		text, err := readValues(value.Content[i+1])
		if err != nil {
			return nil, err
		}
		all = append(all, setting{name, inner.Line, text})
	}
	return all, nil
}

// readValues reads the values of a setting.
func readValues(value *yaml.Node) (values []string, err error) {
	if value.Kind != yaml.SequenceNode && value.Kind != yaml.MappingNode {
		return readScalar(value)
	}
	var parts []string
	for _, part := range value.Content {
		if part.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: want a plain value", part.Line)
		}
		parts = append(parts, part.Value)
	}
	if value.Kind == yaml.SequenceNode {
		return parts, nil
	}
	for i := 0; i < len(parts); i += 2 {
		values = append(values, parts[i]+"="+parts[i+1])
	}
	return values, nil
}

const nullTag = "!!null"

// readScalar reads one value, or none.
func readScalar(value *yaml.Node) ([]string, error) {
	switch {
	case value.Kind != yaml.ScalarNode:
		return nil, fmt.Errorf("line %d: want a plain value, a list or a mapping", value.Line)
	case value.Tag == nullTag:
		return nil, nil
	}
	return []string{value.Value}, nil
}
