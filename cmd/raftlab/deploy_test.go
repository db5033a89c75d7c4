//go:build !wasip1

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"raftlab/sim"
)

func deployed(t *testing.T, name string) []byte {
	data, err := os.ReadFile(filepath.Join(root, "deploy", name))
	require.NoError(t, err)
	return data
}

// serveFlags parses the arguments of raftlab serve, and returns the values.
func serveFlags(t *testing.T, args []string) map[string]string {
	t.Helper()
	require.NotEmpty(t, args)
	require.Equal(t, "serve", args[0])
	cmd := newServeCommand()
	require.NoError(t, cmd.ParseFlags(args[1:]), "%v", args)
	require.Empty(t, cmd.Flags().Args(), "%v", args)
	values := make(map[string]string)
	for _, arg := range args[1:] {
		if name, ok := strings.CutPrefix(arg, "--"); ok {
			name, _, _ = strings.Cut(name, "=")
			require.NotNil(t, cmd.Flags().Lookup(name), arg)
			values[name] = cmd.Flags().Lookup(name).Value.String()
		}
	}
	for _, name := range []string{"name", "data", "cluster", "listen", "listen-peer", "peer-cert", "peer-key", "peer-ca", "cert", "key"} {
		require.NotEmpty(t, values[name], "--%s in %v", name, args)
	}
	require.NotContains(t, values, "insecure")
	return values
}

// The unit runs raftlab serve with settings that exist.
func TestSystemdUnit(t *testing.T) {
	unit := string(deployed(t, "systemd/raftlab.service"))
	_, command, found := strings.Cut(unit, "\nExecStart=/usr/local/bin/raftlab ")
	require.True(t, found)
	command, _, _ = strings.Cut(command, "\n")
	require.Equal(t, "serve --config /etc/raftlab/member.yaml", command)
	require.Contains(t, unit, "RestartPreventExitStatus=64", "the code of a wrong setting")
	require.Equal(t, 64, exitUsage)
	cmd := newServeCommand()
	require.NoError(t, applySettings(cmd.Flags(), filepath.Join(root, "deploy", "systemd", "member.yaml"), nil))
	require.Equal(t, "[n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380]", sortedPairs(cmd.Flags().Lookup("cluster").Value.String()))
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	path := filepath.Join(t.TempDir(), "raftlab.service")
	here := strings.NewReplacer("/usr/local/bin/raftlab", "/bin/true", "User=raftlab", "User=root", "Group=raftlab", "Group=root").Replace(unit)
	require.NoError(t, os.WriteFile(path, []byte(here), 0o644))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	require.NoError(t, err, string(out))
	for _, line := range strings.Split(string(out), "\n") { // of other units of this machine are warnings, too
		require.NotContains(t, line, "raftlab.service")
	}
}

func sortedPairs(list string) string {
	parts := strings.Split(strings.Trim(list, "[]"), ",")
	slices.Sort(parts)
	return "[" + strings.Join(parts, ",") + "]"
}

// strict decodes a YAML document, and refuses fields that the type does not have.
func strict(t *testing.T, d *yaml.Decoder, to any) {
	t.Helper()
	d.KnownFields(true)
	require.NoError(t, d.Decode(to))
}

// compose is the part of a compose file that deploy/docker uses.
type compose struct {
	Name     string
	Member   any                       `yaml:"x-member"`
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]struct{}       `yaml:"volumes"`
}

type composeService struct {
	Image string
	Build struct{ Context, Dockerfile string }

	Restart         string
	StopGracePeriod string                                `yaml:"stop_grace_period"`
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck     struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
	Entrypoint []string
	Command    yaml.Node
	Ports      []string
	Volumes    []string
}

// The compose file has three members whose flags exist and agree.
func TestComposeFile(t *testing.T) {
	var c compose
	strict(t, yaml.NewDecoder(bytes.NewReader(deployed(t, "docker/compose.yaml"))), &c)
	require.Len(t, c.Services, 4)
	for _, name := range []string{"n1", "n2", "n3"} {
		s := c.Services[name]
		var command string
		require.NoError(t, s.Command.Decode(&command))
		flags := serveFlags(t, strings.Fields(command))
		require.Equal(t, name, flags["name"])
		require.Equal(t, "[n1=n1:2380,n2=n2:2380,n3=n3:2380]", sortedPairs(flags["cluster"]))
		require.Equal(t, name+":2380", flags["advertise-peer"])
		require.Equal(t, "/certs/member-"+name+".pem", flags["cert"])
		require.Equal(t, "service_completed_successfully", s.DependsOn["certs"].Condition)
		require.Contains(t, s.Volumes, name+":"+flags["data"])
		require.Contains(t, c.Volumes, name)
		require.Len(t, s.Ports, 1)
		require.True(t, strings.HasPrefix(s.Ports[0], "127.0.0.1:") && strings.HasSuffix(s.Ports[0], ":2379"), s.Ports[0])
	}
	checkCertCommands(t, c.Services["certs"].Command)
	for _, file := range []string{"docker/Dockerfile", "sim/Dockerfile"} {
		require.Contains(t, string(deployed(t, file)), "FROM golang:1.26.8")
	}
}

// checkCertCommands runs the commands that make the certificates.
func checkCertCommands(t *testing.T, node yaml.Node) {
	var script []string
	require.NoError(t, node.Decode(&script))
	dir := t.TempDir()
	commands := 0
	for _, part := range strings.Split(strings.Join(script, " "), ";") {
		_, args, found := strings.Cut(part, "raftlab cert ")
		if !found {
			continue
		}
		args = strings.ReplaceAll(args, "/certs", dir)
		code, _, errs := operate("", append([]string{"cert"}, strings.Fields(args)...)...)
		require.Equal(t, exitOK, code, "%s: %s", args, errs)
		commands++
	}
	require.Equal(t, 3, commands)
	for _, file := range []string{"ca.pem", "member-n1.pem", "member-n1.key", "member-n3.pem", "client-admin.pem"} {
		require.FileExists(t, filepath.Join(dir, file))
	}
}

// The Kubernetes objects, with the fields that deploy/kubernetes uses. A field with a
// wrong name or in a wrong place is refused.
type kubernetes struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Metadata   objectMeta `yaml:"metadata"`
	Spec       yaml.Node
}

type objectMeta struct {
	Name                string
	Labels, Annotations map[string]string
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type serviceSpec struct {
	ClusterIP                string `yaml:"clusterIP"`
	PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
	Selector                 map[string]string
	Ports                    []struct {
		Name       string
		Port       int
		TargetPort string `yaml:"targetPort"`
	}
}

type budgetSpec struct {
	MaxUnavailable int `yaml:"maxUnavailable"`
	Selector       selector
}

type statefulSetSpec struct {
	ServiceName          string `yaml:"serviceName"`
	Replicas             int
	PodManagementPolicy  string                `yaml:"podManagementPolicy"`
	UpdateStrategy       struct{ Type string } `yaml:"updateStrategy"`
	Selector             selector
	Template             podTemplate
	VolumeClaimTemplates []struct {
		Metadata objectMeta
		Spec     struct {
			AccessModes []string `yaml:"accessModes"`
			Resources   resources
		}
	} `yaml:"volumeClaimTemplates"`
}

type resources struct {
	Requests, Limits map[string]string
}

type podTemplate struct {
	Metadata objectMeta
	Spec     struct {
		TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot bool `yaml:"runAsNonRoot"`
			RunAsUser    int  `yaml:"runAsUser"`
			RunAsGroup   int  `yaml:"runAsGroup"`
			FSGroup      int  `yaml:"fsGroup"`
		} `yaml:"securityContext"`
		Affinity struct {
			PodAntiAffinity struct {
				Required []struct {
					TopologyKey   string   `yaml:"topologyKey"`
					LabelSelector selector `yaml:"labelSelector"`
				} `yaml:"requiredDuringSchedulingIgnoredDuringExecution"`
			} `yaml:"podAntiAffinity"`
		}
		Containers []container
		Volumes    []struct {
			Name   string
			Secret struct {
				SecretName  string `yaml:"secretName"`
				DefaultMode int    `yaml:"defaultMode"`
			}
		}
	}
}

type container struct {
	Name, Image     string
	ImagePullPolicy string `yaml:"imagePullPolicy"`
	Args            []string
	Env             []struct {
		Name      string
		ValueFrom struct {
			FieldRef struct {
				FieldPath string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	StartupProbe    probe `yaml:"startupProbe"`
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
	Resources       resources
	SecurityContext struct {
		AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct{ Drop []string }
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct {
		Path, Port, Scheme string
	} `yaml:"httpGet"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	TimeoutSeconds   int `yaml:"timeoutSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

// objects returns the objects of the manifest by kind and name.
func objects(t *testing.T) map[string]*kubernetes {
	all := make(map[string]*kubernetes)
	d := yaml.NewDecoder(bytes.NewReader(deployed(t, "kubernetes/raftlab.yaml")))
	d.KnownFields(true)
	for {
		o := &kubernetes{}
		err := d.Decode(o)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all[o.APIVersion+" "+o.Kind+" "+o.Metadata.Name] = o
	}
}

// spec decodes the spec of an object.
func spec(t *testing.T, o *kubernetes, to any) {
	t.Helper()
	require.NotNil(t, o)
	data, err := yaml.Marshal(&o.Spec)
	require.NoError(t, err)
	strict(t, yaml.NewDecoder(bytes.NewReader(data)), to)
}

// The objects belong together, and the members' flags exist and agree with them.
func TestKubernetesManifest(t *testing.T) {
	all := objects(t)
	require.Len(t, all, 4)
	var headless, client serviceSpec
	var budget budgetSpec
	var set statefulSetSpec
	spec(t, all["v1 Service raftlab"], &headless)
	spec(t, all["v1 Service raftlab-client"], &client)
	spec(t, all["policy/v1 PodDisruptionBudget raftlab"], &budget)
	spec(t, all["apps/v1 StatefulSet raftlab"], &set)

	labels := set.Template.Metadata.Labels
	require.NotEmpty(t, labels)
	for _, selected := range []map[string]string{headless.Selector, client.Selector, budget.Selector.MatchLabels, set.Selector.MatchLabels} {
		require.Equal(t, labels, selected)
	}
	require.Equal(t, "None", headless.ClusterIP)
	require.True(t, headless.PublishNotReadyAddresses)
	require.Equal(t, 1, budget.MaxUnavailable)
	require.Equal(t, "raftlab", set.ServiceName)
	require.Equal(t, "Parallel", set.PodManagementPolicy)
	require.Less(t, budget.MaxUnavailable, (set.Replicas+1)/2)

	require.Len(t, set.Template.Spec.Containers, 1)
	c := set.Template.Spec.Containers[0]
	require.Equal(t, "POD_NAME", c.Env[0].Name)
	require.Equal(t, "metadata.name", c.Env[0].ValueFrom.FieldRef.FieldPath)
	flags := serveFlags(t, c.Args)
	require.Equal(t, "$(POD_NAME)", flags["name"])
	require.Equal(t, "$(POD_NAME).raftlab:2380", flags["advertise-peer"])
	require.Len(t, strings.Split(flags["cluster"], ","), set.Replicas)
	for i := range set.Replicas {
		name := "raftlab-" + string(rune('0'+i))
		require.Contains(t, flags["cluster"], name+"="+name+".raftlab:2380")
	}
	ports := make(map[string]int)
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	require.Equal(t, map[string]int{"client": 2379, "peer": 2380}, ports)
	require.True(t, strings.HasSuffix(flags["listen"], ":2379") && strings.HasSuffix(flags["listen-peer"], ":2380"))
	for _, s := range []serviceSpec{headless, client} {
		for _, p := range s.Ports {
			require.Equal(t, ports[p.TargetPort], p.Port, p.Name)
		}
	}
	for path, p := range map[string]probe{"/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		require.Equal(t, path, p.HTTPGet.Path)
		require.Equal(t, "HTTPS", p.HTTPGet.Scheme)
		require.Equal(t, 2379, ports[p.HTTPGet.Port])
	}
	require.Equal(t, c.LivenessProbe.HTTPGet, c.StartupProbe.HTTPGet)
	require.Empty(t, flags["client-ca"], "probes have no certificate")
	mounts := make(map[string]string)
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	require.Equal(t, flags["data"], mounts[set.VolumeClaimTemplates[0].Metadata.Name])
	require.Equal(t, filepath.Dir(flags["cert"]), mounts[set.Template.Spec.Volumes[0].Name])
}

// The nightly sweep runs raftlab sim with flags that exist, in scripts that a shell
// can read.
func TestNightlySweep(t *testing.T) {
	var workflow struct {
		Name        string
		On          any
		Permissions map[string]string
		Jobs        map[string]struct {
			RunsOn  string `yaml:"runs-on"`
			Timeout int    `yaml:"timeout-minutes"`
			Steps   []struct {
				Name, ID, Uses, If, Run string
				With, Env               map[string]string
			}
		}
	}
	strict(t, yaml.NewDecoder(bytes.NewReader(deployed(t, "sim/nightly.yml"))), &workflow)
	require.Equal(t, "write", workflow.Permissions["issues"])
	sweeps, filed := 0, 0
	for _, step := range workflow.Jobs["sweep"].Steps {
		if step.Run == "" {
			continue
		}
		shell := exec.Command("bash", "-n")
		shell.Stdin = strings.NewReader(step.Run)
		out, err := shell.CombinedOutput()
		require.NoError(t, err, "%s\n%s", step.Run, out)
		filed += strings.Count(step.Run, "gh issue create")
		if _, line, ok := strings.Cut(step.Run, `/raftlab" sim `); ok {
			line, _, _ = strings.Cut(line, ">")
			line = strings.Replace(line, "$first..$((first + 999999))", "1000000..1999999", 1)
			cmd, f := simCommand()
			require.NoError(t, cmd.ParseFlags(strings.Fields(line)))
			require.Equal(t, []string{"./..."}, cmd.Flags().Args())
			require.NoError(t, f.check(cmd.Flags().Args()))
			_, err := sim.ParseSeeds(f.seeds)
			require.NoError(t, err)
			require.True(t, f.shrink && f.save == "failures")
			sweeps++
		}
	}
	require.Equal(t, [2]int{1, 1}, [2]int{sweeps, filed})
}
