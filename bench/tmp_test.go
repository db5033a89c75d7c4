package bench
import ("testing";"time";"fmt";"path/filepath"
"raftlab/porcupine"
"raftlab/porcupine/models"
"raftlab/porcupine/workload")
func TestTmp(t *testing.T){
 h:=kvLog(t, filepath.Join(testData(t),"kv","c50-bad.txt"))
 m:=workload.Opaque(models.KV)
 for i,p:=range m.PartitionEvent(h) {
  mm:=m; mm.PartitionEvent=nil
  st:=time.Now()
  r:=porcupine.CheckEventsTimeout(mm,p,20*time.Second)
  fmt.Println(i,len(p)/2,r,time.Since(st))
 }
}
