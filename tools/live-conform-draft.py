import sys,json,time,collections
sys.path.insert(0,'/work/live')
from fuzz.live_sample import sample
from fuzz.live_conform import *
from fuzz.variant_list import choose
from fuzz.replay import automaton_of
from fuzz.schedule_yaml import load
from variants.live.cache import builds
from variants.live.runner import run_variants
from pathlib import Path
vendor=sys.argv[1]; n=int(sys.argv[2]); seed=int(sys.argv[3]) if len(sys.argv)>3 else 1
vs=choose('',[])
seeds=[load(p.read_text(),p.stem) for p in sorted(Path('corpus/seeds').glob(vendor+'*.yaml'))]
sch=seeds+sample(vendor,vs,n,seed)
sch=[s for s in sch if not races(s)]
print(len(sch));au=automaton_of(vendor,vs)
t=time.time()
live,reps=run_variants([plain(s) for s in sch],builds(None,[v.name for v in vs]),vendor,2)
print('live',round(time.time()-t,1),{k:(r.boots,r.milliseconds,r.troubles[:5]) for k,r in reps.items()})
tal={v.name:Tally() for v in vs}
for i,s in enumerate(sch):
    m=model_traces(au,s)
    for v in m: compare(s,v,m[v],live[v][i],tal[v])
for v,x in tal.items(): print(v,x.steps,x.agree,x.schedules,len(x.disagreements))
c=collections.Counter(); ex={}
for v,x in tal.items():
    for d in x.disagreements:
        k=(d.schedule.steps[d.step].op,tuple((f,str(d.model[d.step][f]),str(d.live[d.step].get(f) if d.step<len(d.live) else None)) for f in d.fields))
        c[k]+=1
        if k not in ex or d.step<ex[k].step: ex[k]=d
for k,n in c.most_common(25):
    d=ex[k]; print('\n###',n,k,d.variant,d.schedule.name)
    for i in range(d.step+1):
        st=d.schedule.steps[i]
        print('  ',st.op,st.on,st.to if st.op=='icr' else '',st.mode,st.controls,'|',{a:b for a,b in d.live[i].items() if b not in(None,False,[]) and a not in('step','on')})
    print('   model:',{a:b for a,b in d.model[d.step].items() if b not in(None,False,[]) and a not in('step','on')})
