package sim_test
import ("testing";"context";"raftlab/sim";"fmt";"os";"time")
func TestTry(t *testing.T){
 for _,race:=range []bool{false,true}{
 ps,err:=sim.Build(context.Background(), sim.Options{Dir:"testdata/mini", Engine:"native",Race:race}, "."); if err!=nil{t.Fatal(err)}
 names:=[]string{"TestDeadlock","TestMixed"}
 for _,n:=range names { for _,ex:=range []sim.Explore{{},{Yields:.1},{Sleeps:.05}} {
  h:=map[string]int{}
  var o sim.Outcome
  for s:=range 4 { for i:=range 4 { o,err=ps[0].Run(context.Background(), sim.Case{Test:n,Seed:uint64(s), Explore:ex,Limits: sim.Limits{Virtual:60e9,SpinCPU:2e9, Memory:32<<20}}); if err!=nil{t.Fatal(err)}; h[fmt.Sprint(s)+o.Hash[:4]+string(o.Verdict)]++ 
  if n!="" {os.WriteFile(fmt.Sprintf("/tmp/rt/%s.%v.%v.%d.%d",n,race,ex,s,i), o.Output,0644)}
  }}
  x:=""; if len(h)>4 { x="DIVERGED"}
  fmt.Println(time.Now().Format("15:04:05"), race, n, ex, h, o.Verdict,o.Detail,o.Virtual,o.CPU,o.Schedules,o.Points, len(o.Injected),x)
 }}}
}
